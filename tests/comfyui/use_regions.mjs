// Uses the waveform of Audio Region as a user does, and reports what its widget holds: for browser.mjs. The workflow has
// one node that Load Audio feeds, and one that gets its sound from a run.

const [FED, RUN] = ["fed", "run"] // titles of the two nodes
const SETTLE_MS = 600
const KNOWN_MS = 240_000 // sound and tempo are read by the server, and librosa takes long to be imported and compiled

export default async function (page) {
  const done = {}
  const text = (title = FED) => page.evaluate(textOf, title)
  await page.waitForFunction(knowsTempo, FED, { timeout: KNOWN_MS })
  done.opened = { text: await text(), ...(await page.evaluate(shown, FED)) }

  await drag(page, 20.1, 26.2)
  done.drawn = await text()
  await drag(page, 23, 33)
  done.moved = await text()
  await drag(page, 36, 40.1)
  done.resized = await text()
  await page.keyboard.down("Alt")
  await drag(page, 31, 32.1)
  await page.keyboard.up("Alt")
  done.free = await text()

  await page.keyboard.press("Control+z")
  done.undone = await text()
  await page.keyboard.press("Control+Shift+z")
  done.redone = await text()
  await page.keyboard.press("Control+z")
  await page.keyboard.press("ArrowRight")
  done.nudged = await text()
  await page.keyboard.press("Delete")
  done.deleted = await text()
  done.nodes = await page.evaluate(() => window.app.graph._nodes.length)

  done.scale = [await page.evaluate(scale)]
  await press(page, 5)
  await page.mouse.wheel(0, -900)
  await page.waitForTimeout(SETTLE_MS)
  done.zoomed = await page.evaluate(shown, FED)
  await page.keyboard.press("0")
  done.scale.push(await page.evaluate(scale))

  await press(page, 12) // in the region that was typed
  await page.keyboard.press(" ")
  await page.waitForFunction(headIsSeen, FED, { timeout: KNOWN_MS })
  await page.keyboard.press(" ")

  done.typed = await page.evaluate(type, { title: FED, value: "1-2, 3-end, what" })
  await page.evaluate(type, { title: FED, value: "1-2, 3-end" })
  done.copied = await page.evaluate(copy, FED)
  done.reloaded = await reload(page)
  done.waits = await page.evaluate(shown, RUN)
  await page.evaluate(() => window.app.queuePrompt(0, 1))
  await page.waitForFunction(isDrawn, RUN, { timeout: KNOWN_MS })
  done.ran = await page.evaluate(shown, RUN)
  return done
}

// ---- in the page ----

function textOf(title) {
  const node = window.app.graph._nodes.find((one) => one.title === title)
  return node.widgets.find((one) => one.name === "regions").value
}

function knowsTempo(title) {
  const node = window.app.graph._nodes.find((one) => one.title === title)
  return node.widgets.find((one) => one.name === "waveform").element.innerText.includes("bpm")
}

function headIsSeen(title) {
  const node = window.app.graph._nodes.find((one) => one.title === title)
  const { element } = node.widgets.find((one) => one.name === "waveform")
  return [...element.querySelectorAll("div")].some(({ style }) => style.borderLeft.startsWith("2px solid") && style.display === "block")
}

function isDrawn(title) {
  const node = window.app.graph._nodes.find((one) => one.title === title)
  const wave = node.widgets.find((one) => one.name === "waveform").element.querySelector("svg[viewBox]")
  return Boolean(wave.querySelector("path").getAttribute("d"))
}

/** What a waveform shows: its words, how long its path is, how many regions and lines of the grid. */
function shown(title) {
  const node = window.app.graph._nodes.find((one) => one.title === title)
  const { element } = node.widgets.find((one) => one.name === "waveform")
  const wave = element.querySelector("svg[viewBox]")
  return {
    words: element.innerText,
    drawn: wave.querySelector("path").getAttribute("d")?.length ?? 0,
    view: wave.getAttribute("viewBox").split(" ").map(Number),
    regions: wave.querySelectorAll("clipPath rect").length,
    lines: wave.querySelectorAll("line").length
  }
}

function scale() {
  return window.app.canvas.ds.scale
}

/** The waveform after its text was typed into the widget. */
function type({ title, value }) {
  const node = window.app.graph._nodes.find((one) => one.title === title)
  const widget = node.widgets.find((one) => one.name === "regions")
  widget.value = value
  widget.callback?.(value)
  return new Promise((done) => setTimeout(() => done(node.widgets.find((one) => one.name === "waveform").element.innerText), 600))
}

/** The text on a copy of the node, and on the node after the copy's was changed. */
function copy(title) {
  const node = window.app.graph._nodes.find((one) => one.title === title)
  const twin = node.clone()
  window.app.graph.add(twin)
  twin.pos = [node.pos[0] + node.size[0] + 40, node.pos[1]]
  const widget = (one) => one.widgets.find(({ name }) => name === "regions")
  const copied = widget(twin).value
  widget(twin).value = "5-6"
  const both = { copied, original: widget(node).value, waveforms: twin.widgets.filter(({ name }) => name === "waveform").length }
  window.app.graph.remove(twin)
  return both
}

/** Text and drawn regions after the workflow was saved and opened again. */
async function reload(page) {
  await page.evaluate(async () => {
    const saved = JSON.parse(JSON.stringify(window.app.graph.serialize()))
    await window.app.loadGraphData(saved, true, true, "saved")
  })
  await page.waitForFunction(knowsTempo, FED, { timeout: KNOWN_MS })
  return { text: await page.evaluate(textOf, FED), ...(await page.evaluate(shown, FED)) }
}

// ---- with the mouse, at times of a sound that is seen as a whole ----

async function place(page) {
  return page.evaluate((title) => {
    const node = window.app.graph._nodes.find((one) => one.title === title)
    const { element } = node.widgets.find((one) => one.name === "waveform")
    const wave = element.querySelector("svg[viewBox]")
    const { x, y, width, height } = wave.getBoundingClientRect()
    return { x, y: y + height / 2, width, seconds: Number(wave.getAttribute("viewBox").split(" ")[2]) }
  }, FED)
}

async function drag(page, from, to) {
  const { x, y, width, seconds } = await place(page)
  const at = (time) => x + (time / seconds) * width
  await page.mouse.move(at(from), y)
  await page.mouse.down()
  await page.mouse.move(at((from + to) / 2), y, { steps: 3 })
  await page.mouse.move(at(to), y, { steps: 3 })
  await page.mouse.up()
}

async function press(page, time) {
  const { x, y, width, seconds } = await place(page)
  await page.mouse.click(x + (time / seconds) * width, y)
}

// Crops clips on LoRA Dataset and uploads a score on Play Score as a user does, and reports what their widgets hold: for
// browser.mjs. The workflow has one node of each, titled "clips" and "score".
import { readFileSync } from "node:fs"

const KNOWN_MS = 240_000
const CROPS = "select[title^='The clip']"
const SCORE = readFileSync(new URL("../../acestep_core/band/example_score.mid", import.meta.url))

export default async function (page) {
  const done = {}
  const regions = () => page.evaluate(valueOf, { title: "clips", name: "regions" })
  await page.locator("button", { hasText: "crop clips" }).click() // once it lies still
  await page.waitForFunction(isDrawn, null, { timeout: KNOWN_MS })
  done.opened = await page.evaluate(crops)
  await draw(page, 2, 5)
  done.first = await regions()
  await page.locator(CROPS).selectOption("1.wav")
  await page.waitForFunction(isDrawn, null, { timeout: KNOWN_MS })
  done.other = await page.evaluate(crops)
  await draw(page, 6, 9)
  done.second = await regions()
  await page.locator(CROPS).selectOption("0.wav")
  await page.waitForFunction(isDrawn, null, { timeout: KNOWN_MS })
  done.back = await page.evaluate(crops)
  await page.mouse.click(...(await page.evaluate(at, 8)))
  await page.keyboard.press("Control+z") // of this clip nothing was done since it is shown
  done.undone = await regions()
  await page.evaluate(() => window.app.loadGraphData(JSON.parse(JSON.stringify(window.app.graph.serialize())), true, true, "saved"))
  await page.waitForFunction(isDrawn, null, { timeout: KNOWN_MS })
  done.reloaded = { ...(await page.evaluate(crops)), text: await regions() }

  await choose(page, { name: "tune.txt", mimeType: "text/plain", buffer: Buffer.from("no score") })
  await page.waitForFunction(() => document.body.innerText.includes("is no MIDI file"), null, { timeout: KNOWN_MS })
  done.refused = await score(page)
  await choose(page, { name: "acestep-tests.mid", mimeType: "audio/midi", buffer: SCORE })
  await page.waitForFunction(hasScore, "acestep-tests.mid", { timeout: KNOWN_MS })
  done.chosen = await score(page)
  done.taken = await page.evaluate(drop, { name: "dropped.MIDI", data: [...SCORE] })
  await page.waitForFunction(hasScore, "dropped.MIDI", { timeout: KNOWN_MS })
  done.left = await page.evaluate(drop, { name: "picture.png", data: [1] })
  return done
}

// ---- in the page ----

function valueOf({ title, name }) {
  const node = window.app.graph._nodes.find((one) => one.title === title)
  return node.widgets.find((one) => one.name === name).value
}

/** Whether the chosen clip is drawn: its name is that of the sound whose peaks are there. */
function isDrawn() {
  const node = window.app.graph._nodes.find((one) => one.title === "clips")
  const { element } = node.widgets.find((one) => one.name === "crops")
  const path = element.querySelector("svg[viewBox] path")?.getAttribute("d")
  return Boolean(path) && !element.innerText.includes("reading the sound")
}

/** The clips that are offered, and how many regions of the chosen one are drawn. */
function crops() {
  const node = window.app.graph._nodes.find((one) => one.title === "clips")
  const { element } = node.widgets.find((one) => one.name === "crops")
  const options = [...element.querySelectorAll("select option")].map((option) => option.textContent)
  return { options, regions: element.querySelectorAll("svg[viewBox] clipPath rect").length }
}

/** A place on the waveform, which is seen as a whole. */
function at(seconds) {
  const node = window.app.graph._nodes.find((one) => one.title === "clips")
  const wave = node.widgets.find((one) => one.name === "crops").element.querySelector("svg[viewBox]")
  const { x, y, width, height } = wave.getBoundingClientRect()
  return [x + (seconds / Number(wave.getAttribute("viewBox").split(" ")[2])) * width, y + height / 2]
}

function hasScore(name) {
  const node = window.app.graph._nodes.find((one) => one.title === "score")
  return node.widgets.find((one) => one.name === "score").value === name
}

/** Drops a file on Play Score, which says whether it takes it. */
function drop({ name, data }) {
  const node = window.app.graph._nodes.find((one) => one.title === "score")
  return node.onDragDrop({ dataTransfer: { files: [new File([new Uint8Array(data)], name)] } })
}

/** Where the classic renderer draws the button; null in Nodes 2.0, where it is an element. */
function buttonOfScore() {
  if (window.LiteGraph.vueNodesMode) return null
  const node = window.app.graph._nodes.find((one) => one.title === "score")
  const { last_y } = node.widgets.find((one) => one.type === "button")
  const { ds, canvas } = window.app.canvas
  const page = canvas.getBoundingClientRect()
  const place = [node.pos[0] + node.size[0] / 2, node.pos[1] + last_y + 10]
  return place.map((value, axis) => (value + ds.offset[axis]) * ds.scale + [page.x, page.y][axis])
}

// ---- as a user ----

/** Draws a region; Alt keeps it off the beats. */
async function draw(page, from, to) {
  await page.keyboard.down("Alt")
  await page.mouse.move(...(await page.evaluate(at, from)))
  await page.mouse.down()
  await page.mouse.move(...(await page.evaluate(at, (from + to) / 2)), { steps: 3 })
  await page.mouse.move(...(await page.evaluate(at, to)), { steps: 3 })
  await page.mouse.up()
  await page.keyboard.up("Alt")
}

async function choose(page, file) {
  const asked = page.waitForEvent("filechooser", { timeout: KNOWN_MS })
  const place = await page.evaluate(buttonOfScore)
  if (place) await page.mouse.click(...place)
  else await page.locator("button", { hasText: "choose MIDI file" }).click()
  await (await asked).setFiles(file)
}

async function score(page) {
  return page.evaluate(valueOf, { title: "score", name: "score" })
}

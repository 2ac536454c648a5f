// Uses the pack's own widgets in a workflow of three stages as a user does, and reports what they show: for browser.mjs.

const SETTLE_MS = 1200 // strips ask the server once no change has come for a while

export default async function (page) {
  const warnings = []
  page.on("console", (message) => message.type() === "warning" && warnings.push(message.text()))
  const done = {}
  await page.waitForTimeout(SETTLE_MS)
  done.opened = await page.evaluate(stages)
  done.colours = await page.evaluate(colours)
  for (const toggled of ["bypassed", "runs again"]) {
    await page.evaluate(toggleBypass)
    await page.waitForTimeout(SETTLE_MS)
    done[toggled] = await page.evaluate(stages)
  }
  await page.evaluate(chooseCustom)
  await page.waitForTimeout(SETTLE_MS)
  done.custom = await page.evaluate(stages)
  done.dragged = await drag(page)
  done.reported = await page.evaluate(report)
  await page.waitForTimeout(300) // it is drawn
  done.selected = await selectReport(page)
  done.restored = await page.evaluate(restore)
  done.lyrics = await insertSections(page)
  done.every = await page.evaluate(reopenEveryNode)
  done.warnings = warnings
  return done
}

/** Of each stage: the words of its strip, whether its seed is shown, and its custom start and end. */
function stages() {
  const found = window.app.graph._nodes.filter((node) => node.type.startsWith("AceStepStage"))
  return Object.fromEntries(
    found.map((node) => {
      const widget = (name) => node.widgets.find((one) => one.name === name)
      const ends = ["stretch.start", "stretch.end"].map((name) => widget(name)?.value ?? null)
      const words = widget("stretch_strip").element.title
      return [node.type.at(-1), { words, seed: !widget("seed").hidden, seedValue: widget("seed").value, ends }]
    })
  )
}

function colours() {
  const { canvas } = window.app
  const types = new Set(window.app.graph._nodes.flatMap((node) => node.outputs.map((output) => output.type)))
  const css = getComputedStyle(document.documentElement)
  return Object.fromEntries(
    [...types]
      .filter((type) => type.startsWith("ACESTEP_"))
      .map((type) => [
        type,
        [
          canvas.constructor.link_type_colors[type],
          canvas.default_connection_color_byType[type],
          css.getPropertyValue(`--color-datatype-${type}`)
        ]
      ])
  )
}

async function toggleBypass() {
  const node = window.app.graph._nodes.find((one) => one.type === "AceStepStageM")
  window.app.canvas.selectItems([node])
  await window.app.extensionManager.command.execute("Comfy.Canvas.ToggleSelectedNodes.Bypass")
}

function chooseCustom() {
  const node = window.app.graph._nodes.find((one) => one.type === "AceStepStageM")
  const widget = node.widgets.find((one) => one.name === "stretch")
  widget.value = "custom"
  widget.callback?.("custom")
}

/** The start of stage M, after its handle was dragged to two fifths of the strip, to t = 0.6. */
async function drag(page) {
  const places = await page.evaluate(() => {
    const node = window.app.graph._nodes.find((one) => one.type === "AceStepStageM")
    const { element } = node.widgets.find((one) => one.name === "stretch_strip")
    const boxes = [element.querySelector("[role=slider]"), element.querySelector("svg")]
    return boxes.map((box) => box.getBoundingClientRect()).map(({ x, y, width, height }) => ({ x, y, width, height }))
  })
  const [handle, bar] = places
  const y = handle.y + handle.height / 2
  await page.mouse.move(handle.x + handle.width / 2, y)
  await page.mouse.down()
  await page.mouse.move(bar.x + 0.4 * bar.width, y, { steps: 4 })
  await page.mouse.up()
  await page.waitForTimeout(SETTLE_MS)
  return (await page.evaluate(stages)).M.ends
}

/** The text on a node after a run that reports markup. */
function report() {
  const node = window.app.graph._nodes.find((one) => one.type === "AceStepStageL")
  node.onExecuted({ acestep_text: [{ lines: ["<b>bold</b> ![x](y)", "second line"] }] })
  const { element } = node.widgets.find((one) => one.type === "acestep_text")
  return { text: element.textContent, elements: element.children.length }
}

/** What is selected after Ctrl+A in that text. */
async function selectReport(page) {
  await page.evaluate(() => {
    const node = window.app.graph._nodes.find((one) => one.type === "AceStepStageL")
    node.widgets.find((one) => one.type === "acestep_text").element.focus()
  })
  await page.keyboard.press("Control+a")
  return page.evaluate(() => window.getSelection().toString())
}

/** Texts on two nodes after their outputs came back: one with a report, one whose report is empty now. */
function restore() {
  const [l, s] = ["L", "S"].map((slot) => window.app.graph._nodes.find((one) => one.type === `AceStepStage${slot}`))
  const output = (...lines) => ({ acestep_text: [{ lines }] })
  window.app.nodeOutputs = { [l.id]: output(), [s.id]: output("kept by the history") }
  const textOf = (node) => node.widgets.find((one) => one.type === "acestep_text")
  return [l, s].map((node) => ({ text: textOf(node).element.textContent, hidden: textOf(node).hidden }))
}

/** The lyrics after two sections were inserted and a line was typed between them. */
async function insertSections(page) {
  const press = (section) => page.locator("button", { hasText: new RegExp(`^${section}$`) }).first().click()
  await press("Verse")
  await page.keyboard.type("la la")
  await press("Chorus")
  await page.waitForTimeout(2000) // the tokens are counted once nothing has been typed for a while
  return page.evaluate(() => {
    const song = window.app.graph._nodes.find((one) => one.type === "AceStepSong")
    const widget = (name) => song.widgets.find((one) => one.name === name)
    return { lyrics: widget("lyrics").value, counter: widget("sections").element.lastChild.textContent }
  })
}

/**
 * Each node of the pack, once for each choice that may bring widgets, with every widget changed: how many widgets they
 * have, and those that have another value once the graph was saved and opened. No page shows these graphs.
 */
function reopenEveryNode() {
  const { LiteGraph } = window
  const newGraph = () => Object.assign(new LiteGraph.LGraph(), { id: crypto.randomUUID() })
  const isDynamic = (node, { name }) => node.constructor.nodeData.inputs[name]?.type === "COMFY_DYNAMICCOMBO_V3"
  const isSaved = (widget) => widget.serialize !== false
  const changed = ({ value, options }) => {
    if (typeof value === "boolean") return !value
    if (typeof value === "number") return value === options.max ? options.min : options.max
    return options.values ? (options.values.find((one) => one !== value) ?? value) : "changed"
  }
  const add = (graph, type, choice) => {
    const node = LiteGraph.createNode(type)
    graph.add(node)
    const dynamic = node.widgets?.filter((widget) => isDynamic(node, widget)) ?? []
    for (const widget of dynamic) widget.value = widget.options.values[choice % widget.options.values.length]
    const plain = node.widgets?.filter((widget) => isSaved(widget) && !dynamic.includes(widget)) ?? []
    for (const widget of plain) widget.value = changed(widget)
    return Math.max(1, ...dynamic.map((widget) => widget.options.values.length))
  }
  const values = (node) =>
    (node.widgets ?? []).filter(isSaved).map(({ name, value }) => [`${node.type} ${node.id}: ${name}`, value])
  const valuesOf = (graph) => Object.fromEntries(graph._nodes.flatMap(values))

  const graph = newGraph()
  for (const type of Object.keys(LiteGraph.registered_node_types).filter((one) => one.startsWith("AceStep"))) {
    for (let choice = 0, choices = 1; choice < choices; choice++) choices = add(graph, type, choice)
  }
  const again = newGraph()
  again.configure({ ...JSON.parse(JSON.stringify(graph.serialize())), id: again.id }) // values are held by a graph's id
  const [saved, opened] = [graph, again].map(valuesOf)
  const names = [...new Set([...Object.keys(saved), ...Object.keys(opened)])]
  const lost = names.filter((name) => !(name in saved) || saved[name] !== opened[name])
  return { widgets: names.length, lost: lost.map((name) => [name, saved[name], opened[name]]) }
}

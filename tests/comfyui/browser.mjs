// Opens workflows in ComfyUI's real front end, in a headless Chromium.
//
//   node browser.mjs SERVER_URL WORKFLOW.json... [--run JSON] [--nodes2] [--ui FILE] [--api FILE] [--shot FILE.jpg|.png]
//
// They are opened one after the other in one page, as a user does. A workflow may be in the UI format or in the API
// format, which is laid out anew. The report on standard output is one JSON object: for each file its missing nodes,
// nodes that the front end marks as wrong, errors of page, console and HTTP, what the console calls deprecated, and the
// workflow in both formats. --run names those in which Run is pressed, each with widgets to change before,
// {"FILE.json": {"NodeType": {"widget": value}}} (a number is the most that it may be, {"exactly": 3} is set); their end
// is waited for, and what our widgets showed is reported. --ui, --api and --shot write the last workflow and its picture to files, which is how
// workflows/ is made.
// --do SCRIPT.mjs, once for each workflow, calls the script's default function with the page once the workflow is open, and
// reports its answer.
// Needs playwright-core (NODE_PATH) and a Chromium (CHROMIUM).
// --frame 5,6 frames these nodes in the picture, not the whole graph. A run reports nodes that lay over others meanwhile.
import { readFileSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { basename } from "node:path"
import { pathToFileURL } from "node:url"
import { parseArgs } from "node:util"

const { chromium } = createRequire(import.meta.url)("playwright-core")

const RUN_MS = 300_000
const SHOT_MS = 120_000
// Of a graph, and of a workflow that opens as an app.
const RUN_BUTTONS = "[data-testid=queue-button]:visible, button:has([data-testid=linear-run-button-icon]):visible"
const VIEW = { width: 1600, height: 900 }
const PAGE_VIEW = { width: 1200, height: 900 } // for the picture of a workflow that opens as an app
const SHOT_VIEW = { width: 2600, height: 1400 } // large enough that text of a whole workflow can be read
// What menus cover at the sides of the page, and what is left free around a picture, in pixels.
const MARGINS = { left: 85, top: 135, right: 40, bottom: 95, air: 20 }
const CARD = 4 / 3 // width to height of a picture of some nodes, as the template browser's cards show most of it

// Seen in a ComfyUI without any pack: its own order of starting, and its own questions that --disable-api-nodes stops.
const CONSOLE_NOISE =
  /graph accessed before initialization|(huggingface\.co|comfy\.org|github\.com)\S* .*Content Security Policy/i
// The front end asks for these whether they are there or not.
const HTTP_NOISE = /user\.css|comfy\.templates\.json|\/settings\/|\/userdata|\/docs\/.*\.md$|\/favicon/

// First visits bring dialogs and panels that would lie over the workflow.
const SETTINGS = {
  "Comfy.TutorialCompleted": true,
  "Comfy.OnboardingCoachmarks.Seen": ["appMode", "firstRun"],
  "Comfy.Notification.ShowVersionUpdates": false,
  "Comfy.Workflow.Persist": false,
  "Comfy.RightSidePanel.IsOpen": false,
  "Comfy.Minimap.Visible": false,
  "LiteGraph.Canvas.MinFontSizeForLOD": 0, // text is drawn at any scale
  "LiteGraph.Canvas.MaximumFps": 10 // without a GPU a graph costs the server that runs it its time
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    run: { type: "string", default: "{}" },
    do: { type: "string", multiple: true, default: [] },
    nodes2: { type: "boolean", default: false },
    ui: { type: "string" },
    api: { type: "string" },
    shot: { type: "string" },
    frame: { type: "string", default: "" }
  }
})
const [server, ...files] = positionals
if (!files.length) throw new Error("usage: browser.mjs SERVER_URL WORKFLOW.json...")
Object.assign(MARGINS, { only: options.frame.split(",").filter(Boolean), ratio: CARD })
const url = server.replace(/\/$/, "")
const runs = JSON.parse(options.run)

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
})
const reports = {}
let report // of the workflow that is open
try {
  const page = await openFrontEnd()
  for (const [number, file] of files.entries()) reports[basename(file)] = await visit(page, file, options.do[number])
} finally {
  await browser.close()
}
process.stdout.write(JSON.stringify(reports, null, 1))

async function openFrontEnd() {
  report = blank()
  const page = await (await browser.newContext({ viewport: options.shot ? SHOT_VIEW : VIEW })).newPage()
  listen(page)
  await keepApart(page)
  await page.goto(url)
  await page.waitForFunction(isReady, null, { timeout: 120_000 })
  await page.waitForTimeout(1000) // extensions of packs are set up last
  return page
}

function blank() {
  return { consoleErrors: [], consoleNoise: [], deprecations: [], pageErrors: [], httpErrors: [] }
}

async function visit(page, file, script) {
  report.frontend = await page.evaluate(() => window.__COMFYUI_FRONTEND_VERSION__)
  await page.evaluate(loadWorkflow, { workflow: JSON.parse(readFileSync(file)), name: basename(file, ".json") })
  await page.waitForTimeout(1000)
  Object.assign(report, await page.evaluate(describe))
  await page.evaluate(fitView, MARGINS)
  if (script) report.done = await (await import(pathToFileURL(script))).default(page)
  const changes = runs[basename(file)]
  if (changes) await page.evaluate(changeWidgets, changes)
  if (changes) report.run = await run(page)
  if (options.ui) writeFileSync(options.ui, JSON.stringify(report.ui, null, 2) + "\n")
  if (options.api) writeFileSync(options.api, JSON.stringify(report.api, null, 2) + "\n")
  if (options.shot) await picture(page, options.shot, Boolean(changes))
  const done = report
  report = blank()
  return done
}

function listen(page) {
  page.on("pageerror", (error) => report.pageErrors.push(String(error.stack ?? error)))
  page.on("console", (message) => {
    const text = message.text()
    if (message.type() === "warning" && /deprecated/i.test(text)) report.deprecations.push(text)
    // A failed request is told with its address by "response".
    if (message.type() !== "error" || text.startsWith("Failed to load resource")) return
    report[CONSOLE_NOISE.test(text) ? "consoleNoise" : "consoleErrors"].push(text)
  })
  page.on("response", (answer) => {
    if (answer.status() >= 400 && !HTTP_NOISE.test(answer.url()))
      report.httpErrors.push(`${answer.status()} ${answer.request().method()} ${answer.url()}`)
  })
}

// Nothing leaves this machine, and settings are overlaid in the page, not written on the server.
async function keepApart(page) {
  await page.route((address) => /^https?:/.test(address.protocol) && address.origin !== url, (route) => route.abort())
  await page.route(/\/settings$/, async (route) => {
    if (route.request().method() !== "GET") return route.continue()
    const own = await (await route.fetch()).json()
    await route.fulfill({ json: { ...own, ...SETTINGS, "Comfy.VueNodes.Enabled": options.nodes2 } })
  })
}

function isReady() {
  const registered = window.LiteGraph?.registered_node_types
  return Boolean(window.app?.extensionManager && registered?.SaveImage && window.app.canvas?.graph)
}

async function loadWorkflow({ workflow, name }) {
  if (Array.isArray(workflow.nodes)) await window.app.loadGraphData(workflow, true, true, name)
  else await window.app.loadApiJson(workflow, name)
}

async function describe() {
  const all = (graph) => graph._nodes.flatMap((node) => [node, ...(node.subgraph ? all(node.subgraph) : [])])
  const nodes = all(window.app.graph)
  const known = window.LiteGraph.registered_node_types
  const prompt = await window.app.graphToPrompt()
  return {
    missing: nodes.filter((node) => !node.subgraph && !(node.type in known)).map((node) => node.type),
    invalid: nodes.filter((node) => node.has_errors).map((node) => node.type),
    // What a workflow that opens as an app lets one set on its page.
    page: [...document.querySelectorAll("[data-testid=builder-widget-label]")].map((label) => label.innerText.trim()),
    api: prompt.output,
    ui: prompt.workflow
  }
}

// Shows the graph between the menus, all of it or the nodes in `only`; the part of the page that it fills.
function fitView({ left, top, right, bottom, air, only = [], ratio = 0 }) {
  const { graph, canvas } = window.app
  const nodes = graph._nodes.filter((node) => !only.length || only.includes(String(node.id)))
  const boxes = nodes.map((node) => [node.pos[0], node.pos[1] - 50, node.size[0], node.size[1] + 50])
  if (!only.length) boxes.push(...graph._groups.map((group) => [...group.pos, ...group.size]))
  if (!boxes.length) return null
  let x = Math.min(...boxes.map((box) => box[0]))
  let y = Math.min(...boxes.map((box) => box[1]))
  let width = Math.max(...boxes.map((box) => box[0] + box[2])) - x
  let height = Math.max(...boxes.map((box) => box[1] + box[3])) - y
  if (only.length) {
    const more = [Math.max(0, height * ratio - width), Math.max(0, width / ratio - height)]
    x -= more[0] / 2
    width += more[0]
    y -= more[1] / 2
    height += more[1]
  }
  const page = canvas.canvas.getBoundingClientRect()
  const room = [window.innerWidth - left - right, window.innerHeight - top - bottom]
  const scale = Math.min(1.2, room[0] / width, room[1] / height)
  canvas.ds.scale = scale
  canvas.ds.offset[0] = (left - page.x) / scale - x
  canvas.ds.offset[1] = (top - page.y) / scale - y
  canvas.setDirty(true, true)
  return { x: left - air, y: top - air, width: width * scale + 2 * air, height: height * scale + 2 * air }
}

function changeWidgets(changes) {
  for (const node of window.app.graph._nodes)
    for (const widget of node.widgets ?? []) {
      const value = changes[node.type]?.[widget.name]
      if (value === undefined) continue
      widget.value = typeof value === "number" ? Math.min(widget.value, value) : (value.exactly ?? value)
    }
}

async function run(page) {
  await page.evaluate(watchWidgets)
  const asked = page.waitForResponse((answer) => answer.request().method() === "POST" && answer.url().endsWith("/prompt"))
  await page.locator(RUN_BUTTONS).first().click()
  const answer = await asked
  const body = await answer.json()
  if (!answer.ok()) return { status: "refused", error: body.error, nodeErrors: body.node_errors }
  const deadline = Date.now() + RUN_MS
  const overlaps = new Set()
  while (Date.now() < deadline) {
    const history = await (await page.request.get(`${url}/history/${body.prompt_id}`)).json()
    const entry = history[body.prompt_id]
    if (entry) await page.waitForTimeout(500) // the page hears of it a little later
    for (const pair of await page.evaluate(overlapping)) overlaps.add(pair)
    if (entry) {
      const shown = { seen: await page.evaluate(() => window.acestepSeen), overlaps: [...overlaps] }
      return { status: entry.status.status_str, outputs: entry.outputs, messages: entry.status.messages, ...shown }
    }
    await page.waitForTimeout(250)
  }
  return { status: "unfinished", overlaps: [...overlaps] }
}

// "Song 2 over Note 12", of nodes as they are drawn: in Nodes 2.0 they are elements, whose size may be another.
function overlapping() {
  const { scale } = window.app.canvas.ds
  const boxes = window.app.graph._nodes.map((node) => {
    const element = document.querySelector(`[data-node-id="${node.id}"]`)
    const drawn = element?.getBoundingClientRect()
    const [width, height] = drawn ? [drawn.width / scale, drawn.height / scale] : [node.size[0], node.size[1] + 30]
    return { name: `${node.title} ${node.id}`, x: node.pos[0], y: node.pos[1] - 30, width, height }
  })
  const cover = (a, b) =>
    a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
  return boxes.flatMap((a, i) => boxes.slice(i + 1).filter((b) => cover(a, b)).map((b) => `${a.name} over ${b.name}`))
}

// From now on notes in window.acestepSeen what the pack's own widgets show, whenever that changes: a page that has little
// of the processor is asked too seldom.
function watchWidgets() {
  const seen = (window.acestepSeen = [])
  const note = (node, { name, element }) => {
    const now = {
      node: String(node.id),
      widget: name,
      text: element.innerText,
      buttons: element.querySelectorAll("button").length,
      drawn: [...element.querySelectorAll("path")].reduce((sum, path) => sum + (path.getAttribute("d")?.length ?? 0), 0)
    }
    const before = seen.findLast((one) => one.node === now.node && one.widget === now.widget)
    if (JSON.stringify(before) !== JSON.stringify(now)) seen.push(now)
  }
  const what = { subtree: true, childList: true, characterData: true, attributes: true }
  for (const node of window.app.graph._nodes)
    for (const widget of node.widgets ?? []) {
      if (!widget.element || !widget.type.startsWith("acestep_")) continue
      note(node, widget)
      new MutationObserver(() => note(node, widget)).observe(widget.element, what)
    }
}

async function picture(page, file, hasRun) {
  if (hasRun) await page.waitForTimeout(7000) // players come, and the word that the job is done goes
  if (report.page.length) await page.setViewportSize(PAGE_VIEW)
  const clip = report.page.length ? null : await page.evaluate(fitView, MARGINS) // nodes have grown by what they show
  await page.waitForTimeout(500)
  const jpeg = /\.jpe?g$/.test(file)
  const form = jpeg ? { type: "jpeg", quality: 80 } : {}
  await page.screenshot({ path: file, clip: clip ?? undefined, timeout: SHOT_MS, ...form })
}

// Uses the server's page in a headless Chromium, as a visitor does:
//
//   node page.mjs URL make|early|return|train|label WIDTH WAV [SHOT.png]
//
// "make" makes a song from a line, plays it, repaints a region of it, uploads a clip and records one; "early" plays one
// while it is decoded; "return" finds the songs again, and begins a dataset; "train" trains an adapter on six clips and
// makes a song with it, over a reload of the page; "label" lets a planner label six songs, of which it labels some itself.
// The report on standard output is one JSON object: what was seen, errors of page, console and HTTP, and requests that
// went to another server. Needs playwright-core (NODE_PATH) and a Chromium (CHROMIUM).
import { createRequire } from "node:module"

const { chromium } = createRequire(import.meta.url)("playwright-core")
const WAIT_MS = 400_000
const SLOW_MS = 800
const MICROPHONE = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"] // it beeps
const [url, part, width, wav, shot] = process.argv.slice(2)
const report = { errors: [], foreign: [] }

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--autoplay-policy=no-user-gesture-required", ...MICROPHONE]
})
try {
  const page = await (await browser.newContext({ viewport: { width: Number(width), height: 860 } })).newPage()
  page.setDefaultTimeout(WAIT_MS)
  listen(page)
  await page.goto(url)
  await page.locator("#simple-make").waitFor()
  Object.assign(report, await { make, early, return: comeBack, train, label }[part](page))
  report.wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
  if (shot) await page.screenshot({ path: shot })
} finally {
  await browser.close()
}
process.stdout.write(JSON.stringify(report))

function listen(page) {
  page.on("pageerror", (error) => report.errors.push(String(error.stack ?? error)))
  page.on("console", (message) => message.type() === "error" && report.errors.push(message.text()))
  page.on("response", (answer) => answer.status() >= 400 && report.errors.push(`${answer.status()} ${answer.url()}`))
  page.on("request", (request) => {
    const { protocol, origin } = new URL(request.url())
    if (protocol.startsWith("http") && origin !== new URL(url).origin) report.foreign.push(request.url())
  })
}

async function make(page) {
  await page.fill("#simple-line textarea", "calm lo-fi beat with piano, 90 bpm")
  await page.getByLabel("number input for Length in seconds").first().fill("10")
  await page.keyboard.press("Tab")
  await page.click("#simple-make")
  const progress = await page.waitForFunction(() => {
    const bar = document.querySelector(".job [role=progressbar]")
    return Number(bar?.getAttribute("aria-valuenow")) > 0 && document.querySelector(".job .phase").textContent
  })
  await page.locator(".job.done .song").first().waitFor()
  await page.locator(".job .song .play").first().click()
  await page.waitForFunction(() => [...document.querySelectorAll("song-wave")].some((wave) => wave.at > 0.2))
  await page.locator(".job .song .play").first().click()
  await page.locator(".job .song .to-edit").first().click()
  await page.getByRole("button", { name: /^Words/ }).locator("visible=true").click()
  await page.fill("#edit-bpm input", "90")
  await page.locator("sound-input .snap", { hasText: /\d bpm/ }).waitFor() // of the song's tags, where they have one
  await drawRegion(page)
  const regions = await page.inputValue("#edit-regions :is(input, textarea)")
  const beats = await page.evaluate(async () => {
    const { sound } = document.querySelector("sound-input song-wave.editable")
    return (await fetch(`v1/sounds/${sound.id}/beats?bpm=90`)).json()
  })
  await page.click("#edit-make")
  await page.waitForFunction(() => document.querySelectorAll(".job.done .song").length === 2)
  return { progress: await progress.jsonValue(), regions, beats, upload: await upload(page), recorded: await record(page) }
}

/** How far a song was played while it was decoded, and where the finished one went on. */
async function early(page) {
  await page.fill("#simple-line textarea", "calm lo-fi beat with piano")
  await page.click("#simple-make")
  const player = page.locator(".job .preview audio")
  await player.waitFor()
  await player.evaluate((audio) => {
    window.early = audio
    return audio.play()
  })
  await page.waitForFunction(() => window.early.currentTime > 0.2)
  await page.locator(".job.done .song").waitFor()
  await page.waitForFunction(() => document.querySelector("song-wave").at > window.early.currentTime)
  return page.evaluate(() => ({
    early: [window.early.currentTime, window.early.paused, document.querySelectorAll(".preview").length],
    wave: [document.querySelector("song-wave").at, document.querySelector("song-wave").audio.paused]
  }))
}

/** From three tenths of the sound to a half of it. */
async function drawRegion(page) {
  const wave = page.locator("sound-input song-wave.editable")
  await wave.waitFor()
  await page.waitForFunction(() => document.querySelector("sound-input song-wave.editable").duration > 0)
  const track = wave.locator(".track")
  await track.scrollIntoViewIfNeeded()
  const { x, y, width: wide } = await track.boundingBox()
  await page.mouse.move(x + 0.3 * wide, y + 20)
  await page.mouse.down()
  await page.mouse.move(x + 0.5 * wide, y + 24, { steps: 4 })
  await page.mouse.up()
  await page.locator("sound-input .region").waitFor()
}

async function upload(page) {
  await openTab(page, "Reference")
  const input = page.locator("sound-input:visible").first()
  await input.locator("input[type=file]").setInputFiles(wav)
  return input.locator(".sound .name").textContent()
}

/** The seconds of a recording. */
async function record(page) {
  const input = page.locator("sound-input:visible").nth(1)
  await input.locator(".record").click()
  await input.locator(".record.on").waitFor()
  await page.waitForTimeout(2000)
  await input.locator(".record").click()
  await input.locator(".sound .name", { hasText: "recording" }).waitFor()
  await page.waitForFunction(() => [...document.querySelectorAll("sound-input song-wave")].at(-1).duration > 0)
  return page.evaluate(() => [...document.querySelectorAll("sound-input song-wave")].at(-1).duration)
}

/** Begins a dataset; the server is slow to answer, so that what comes next is done before. */
async function begin(page, name) {
  await openTab(page, "Train")
  const sets = page.locator("data-sets")
  await slow(page, "**/v1/datasets")
  await sets.locator("input[type=text]").first().fill(name)
  await sets.getByRole("button", { name: "Begin" }).click()
  return sets
}

/** Answers at an address come this much later from now on. */
async function slow(page, address) {
  await page.route(address, async (route) => {
    await new Promise((done) => setTimeout(done, SLOW_MS))
    await route.continue()
  })
}

async function saved(field, value) {
  await field.fill(value)
  await field.blur()
  await field.locator("xpath=ancestor::*[@class='clip']").locator(".said", { hasText: "saved" }).waitFor()
}

/** An adapter of six clips; what is written in the form stays over a reload, and so does what is typed as it comes back. */
async function train(page) {
  const sets = await begin(page, "six")
  await sets.locator("input[type=file]").setInputFiles(Array(6).fill(wav))
  await sets.locator(".clip").nth(5).waitFor()
  for (const field of await sets.locator(".clip [name=caption]").all()) await saved(field, "soft noise")
  await page.getByLabel("Name of the adapter").fill("soft")
  await page.getByLabel("Steps", { exact: true }).fill("20")
  await choose(page, "Model to adapt", "tiny-s")
  await page.getByRole("button", { name: "How it is trained" }).click()
  for (const [label, value] of Object.entries({ Rank: "2", "Clips a step": "1", "Seconds of a crop": "1", "Share held out": "0" }))
    await page.getByLabel(label, { exact: true }).fill(value)
  await page.getByLabel("Steps between previews").fill("20")
  await openTab(page, "Simple")
  await page.fill("#simple-line textarea", "an old line")
  await page.waitForTimeout(500)
  await slow(page, "**/gradio_api/run/**")
  await page.reload()
  await page.fill("#simple-line textarea", "typed at once")
  await page.waitForFunction(() => window.acestepKeep)
  const typed = [await page.inputValue("#simple-line textarea"), await kept(page)]
  await openTab(page, "Train")
  await page.waitForFunction(() => [...document.querySelectorAll("input")].some((one) => one.value === "soft"))
  const clips = await sets.locator(":scope > .hint", { hasText: "clips" }).textContent()
  await page.click("#train-make")
  await page.locator(".job.done").waitFor()
  const adapter = page.locator("lora-list .job", { hasText: "soft" })
  await adapter.getByRole("button", { name: "Loss" }).click()
  await adapter.locator(".plot polyline").waitFor()
  const steps = await adapter.locator(".plot polyline").evaluate((line) => line.points.length)
  const previews = await adapter.locator(".plot audio").count()
  const state = await adapter.locator(".state").textContent()
  return { clips, typed, steps, previews, state, worn: await wear(page) }
}

/** The line that the browser keeps. */
function kept(page) {
  return page.evaluate(() => JSON.parse(localStorage.getItem("acestep-drafts")).simple.line)
}

/** Six songs are clips; the second's lyrics and the third's caption are the visitor's own. Their labels, as they are shown. */
async function label(page) {
  await page.evaluate(async (song) => {
    const headers = { "content-type": "application/json" }
    await fetch("v1/jobs", { method: "POST", headers, body: JSON.stringify({ song, count: 6 }) })
  }, { caption: "calm lo-fi beat with piano", seconds: 10 })
  await page.locator(".job.done .song").nth(5).waitFor()
  const sets = await begin(page, "six")
  await sets.locator("sound-input").waitFor()
  for (let index = 0; index < 6; index++) {
    await sets.locator(".pick summary").click()
    await sets.locator(".pick .found button").nth(index).click()
    await sets.locator(".clip").nth(index).waitFor()
  }
  const field = (index, name) => sets.locator(".clip").nth(index).locator(`[name=${name}]`)
  await saved(field(1, "lyrics"), "la la")
  await field(2, "caption").fill("my own") // is saved as the button is pressed
  await sets.getByRole("button", { name: "Let a planner label them" }).click()
  await field(5, "key").fill("typed meanwhile")
  await page.locator(".job.done", { hasText: "labels of six" }).waitFor()
  await sets.locator(":scope > .hint", { hasText: "labelled: 6" }).waitFor()
  const names = ["caption", "lyrics", "bpm", "key"]
  const rows = await sets.locator(".clip").all()
  return { labels: await Promise.all(rows.map((row) => Promise.all(names.map((name) => row.locator(`[name=${name}]`).inputValue())))) }
}

/** A song with the adapter, which the form lists without another reload; the settings that its tags hold. */
async function wear(page) {
  await openTab(page, "Custom")
  await page.fill("#custom-caption textarea", "calm piano")
  await page.getByLabel("number input for Length in seconds").locator("visible=true").fill("10")
  await page.getByRole("button", { name: "Adapters" }).locator("visible=true").click()
  await choose(page, "Adapter", "soft.safetensors")
  await page.click("#custom-make")
  await page.locator(".job.done .song").waitFor()
  return page.evaluate(async () => {
    const { songs } = await (await fetch("v1/songs")).json()
    return (await (await fetch(`v1/songs/${songs[0].id}`)).json()).settings.lora
  })
}

async function choose(page, label, option) {
  await page.getByLabel(label, { exact: true }).locator("visible=true").first().click()
  await page.getByRole("option", { name: option, exact: true }).click()
}

async function comeBack(page) {
  await page.locator(".job.done .song").nth(1).waitFor()
  await openTab(page, "Library")
  await page.locator("song-library .song").nth(1).waitFor()
  const count = await page.locator("song-library .count").textContent()
  await page.fill("song-library input[type=search]", "no such words")
  await page.waitForFunction(() => !document.querySelector("song-library .song"))
  await page.fill("song-library input[type=search]", "piano")
  const card = page.locator("song-library .song").first()
  await card.waitFor()
  await card.locator(".play").focus()
  await page.keyboard.press("Enter")
  await page.waitForFunction(() => [...document.querySelectorAll("song-wave")].some((wave) => wave.at > 0.2))
  const tasks = await page.locator("song-library .chip").allTextContents()
  return { count, tasks, clips: await beginDataset(page) }
}

/** A dataset with one clip and its caption; how many clips it says that it has. */
async function beginDataset(page) {
  const sets = await begin(page, "mine")
  await sets.locator("input[type=file]").setInputFiles(wav)
  await saved(sets.locator(".clip [name=caption]"), "soft noise")
  return sets.locator(":scope > .hint").textContent()
}

async function openTab(page, name) {
  const tab = page.getByRole("tab", { name, exact: true })
  if (!(await tab.first().isVisible())) await page.locator(".overflow-menu > button").click()
  await page.locator(`:is([role=tab], .overflow-dropdown button):visible`, { hasText: name }).first().click()
}

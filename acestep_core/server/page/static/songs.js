// A song as a card: what it is, its player, and all that can be done with it.
import { act, ask, attempt, button, clock, el, say, submit } from "./api.js"
import { linesOf } from "./wave.js"

const TITLE_MOST = 80 // of a caption that is the title in a song's tags
const FORMATS = ["flac", "wav", "mp3", "ogg", "opus"]
const ACTS = ["as_reference", "continue", "understand"]
const JOBS = ["score", "lyric_times", "codes"]

/** A song of a job, or a row of the library -> what a card shows. */
function plain(song) {
  const words = song.song ?? song
  const { caption, bpm, key, seconds } = { ...words, seconds: song.seconds }
  const first = caption?.split("\n")[0] || ""
  const isCut = song.title?.length >= TITLE_MOST && first.startsWith(song.title)
  const title = isCut || !song.title ? first : song.title
  const models = typeof song.models === "string" ? song.models : ""
  const task = song.task ?? song.settings?.edit?.task
  return { ...song, title: title || song.file || song.id, caption, bpm, key, seconds, models, task, lyrics: words.lyrics }
}

const roughly = (seconds) => Number(seconds.toFixed(seconds < 10 ? 1 : 0))

/** The card of a song. `removed` is called once the song lies in the trash. */
export function songCard(given, { compact = false, removed } = {}) {
  const song = plain(given)
  const card = el("article", { className: compact ? "song compact" : "song" })
  card.dataset.id = song.id
  const wave = el("song-wave")
  wave.sound = song
  const said = el("p", { className: "said", role: "status" })
  const found = el("div", { className: "found" })
  card.append(heading(song, wave, compact), wave, found, actions(song, card, said, removed), said)
  wave.addEventListener("playing", () => details(song, wave, found), { once: true })
  const answered = ({ detail: job }) => takeAnswer(job, song, wave, found)
  document.addEventListener("acestep:answer", answered)
  return card
}

function heading(song, wave, compact) {
  const facts = [
    song.seconds && clock(song.seconds),
    song.bpm && say("bpm", { bpm: song.bpm }),
    song.key,
    song.task,
    song.seed != null && say("seed", { seed: song.seed }),
    song.made_in_seconds && say("made_in", { seconds: roughly(song.made_in_seconds) }),
    compact && song.models,
  ].filter(Boolean)
  const chips = facts.map((fact) => el("span", { className: "chip", textContent: fact }))
  const title = el("h3", { textContent: song.title, title: song.caption ?? "" })
  const date = compact && song.made ? el("time", { textContent: new Date(1000 * song.made).toLocaleString() }) : ""
  return el("div", { className: "heading" }, title, el("div", { className: "chips" }, ...chips, date))
}

function actions(song, card, said, removed) {
  const again = () => attempt(said, () => submit({ again: song.id, settings: { seed: Math.floor(Math.random() * 2 ** 31) } }))
  const to = (name) => () => act(name, song.id, { name: song.title })
  const listen = (kind) => () => attempt(said, () => submit({ kind, source: song.id }))
  const items = [
    button(say("again"), again),
    ...ACTS.map((name) => button(say(name), to(name))),
    ...JOBS.filter((kind) => kind !== "lyric_times" || isSung(song)).map((kind) => button(say(kind), listen(kind))),
    button(say("details"), () => attempt(said, () => showTags(song, card))),
    button(say("compare"), () => document.dispatchEvent(new CustomEvent("acestep:compare", { detail: song }))),
    button(say("remove"), () => removal(song, card, said, removed), { className: "danger" }),
  ]
  return el(
    "div",
    { className: "actions" },
    menu(say("download"), FORMATS.map((format) => downloadLink(song, format)), "download"),
    button(say("edit"), to("edit"), { className: "to-edit" }),
    button(say("reuse"), to("reuse")),
    menu(say("more"), items, "more"),
  )
}

const isSung = (song) => song.lyrics === undefined || !["", "[instrumental]"].includes(song.lyrics.trim().toLowerCase())

function downloadLink(song, format) {
  const href = `v1/sounds/${song.id}/audio?format=${format}&download=true`
  return el("a", { href, textContent: say("download_as", { format }), download: "" })
}

/** A button that opens a list. Escape, and a click elsewhere, close it. */
export function menu(label, items, name = "") {
  const list = el("div", { className: "items" }, ...items)
  const made = el("details", { className: `menu ${name}` }, el("summary", { textContent: label }), list)
  list.addEventListener("click", () => (made.open = false))
  made.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return
    made.open = false
    made.querySelector("summary").focus()
  })
  made.addEventListener("toggle", () => {
    if (!made.open) return
    for (const other of document.querySelectorAll("details.menu[open]")) if (other !== made) other.open = false
    list.classList.toggle("up", made.getBoundingClientRect().bottom + list.offsetHeight > innerHeight)
  })
  return made
}

document.addEventListener("click", ({ target }) => {
  for (const open of document.querySelectorAll("details.menu[open]")) if (!open.contains(target)) open.open = false
})

function removal(song, card, said, removed) {
  const yes = button(say("remove"), () =>
    attempt(said, async () => {
      await ask(`v1/songs/${song.id}`, { method: "DELETE" })
      card.replaceChildren(el("p", { className: "said", textContent: `${song.title}: ${say("removed")}` }))
      removed?.(song.id)
    }),
  )
  yes.className = "danger"
  said.replaceChildren(say("remove_sure"), " ", yes, " ", button(say("keep"), () => said.replaceChildren()))
  yes.focus()
}

// ---- what is in a song's tags, or was found since ----

async function details(song, wave, found) {
  const tags = await ask(`v1/songs/${song.id}`).catch(() => null)
  if (!tags) return
  if (tags.lrc) wave.lines = linesOf(tags.lrc)
  if (tags.scores?.total !== undefined && !found.firstChild) showScore(tags.scores, found)
}

/** Opens the song's words, settings and digests of models below its card, or closes them. */
async function showTags(song, card) {
  const open = card.querySelector("pre.tags")
  if (open) return open.remove()
  const { song: words, settings, digests } = await ask(`v1/songs/${song.id}`)
  const shown = JSON.stringify({ song: words, settings, digests }, null, 1)
  card.append(el("pre", { className: "tags", textContent: shown, tabIndex: 0 }))
}

function takeAnswer(job, song, wave, found) {
  const answer = job.answer
  if (answer?.source !== song.id) return
  if (job.kind === "score") showScore(answer, found)
  if (job.kind === "lyric_times") wave.lines = linesOf(answer.lrc)
}

/** The total, and the remark of every judge. */
function showScore(scores, found) {
  const remarks = Object.entries(scores).filter(([, one]) => one?.remark)
  const total = el("strong", { textContent: say("score_of", { total: scores.total.toFixed(2) }) })
  const each = remarks.map(([name, { remark, grade }]) => {
    const chip = el("span", { className: "chip grade", textContent: remark, title: `${name}: ${grade.toFixed(2)}` })
    chip.style.setProperty("--grade", `${Math.round(100 * grade)}%`)
    return chip
  })
  found.replaceChildren(total, ...each)
}

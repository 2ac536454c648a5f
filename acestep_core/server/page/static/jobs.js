// <job-list>: all jobs that the server keeps, with their progress and their songs. It follows the server's events.
import { act, ask, attempt, button, clock, el, say } from "./api.js"
import { songCard } from "./songs.js"

const ENDED = ["done", "failed", "cancelled", "lost"]

class JobList extends HTMLElement {
  #shown = new Map() // id -> JobView

  connectedCallback() {
    if (this.events) return
    this.empty = el("p", { className: "empty", textContent: say("none_yet") })
    this.trouble = el("p", { className: "said wrong", role: "status", hidden: true, textContent: say("offline") })
    this.list = el("div", { className: "jobs" })
    this.append(el("h2", { textContent: say("results") }), this.trouble, this.empty, this.list)
    this.events = new EventSource("v1/jobs/events")
    this.events.addEventListener("job", ({ data }) => this.take(JSON.parse(data)))
    this.events.addEventListener("open", () => (this.trouble.hidden = true))
    this.events.addEventListener("error", () => this.lost())
    addEventListener("pagehide", () => this.events.close())
  }

  /** The browser tries again by itself, unless the server refused. */
  lost() {
    this.trouble.hidden = false
    if (this.events.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000)
  }

  take(job) {
    this.empty.hidden = true
    let view = this.#shown.get(job.id)
    if (!view) {
      view = new JobView(job)
      this.#shown.set(job.id, view)
      const behind = [...this.list.children].find((one) => Number(one.dataset.created) < job.created)
      this.list.insertBefore(view.element, behind ?? null)
    }
    view.show(job)
    document.dispatchEvent(new CustomEvent("acestep:job", { detail: job }))
  }
}

class JobView {
  constructor(job) {
    this.title = el("h3", { textContent: job.title })
    this.state = el("span", { className: "state" })
    this.bar = el("div", { className: "bar" })
    this.progress = el("div", { className: "progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": job.title }, this.bar)
    this.phase = el("span", { className: "phase" })
    this.cancel = button(say("cancel"), () => this.stop(job.id), { className: "cancel" })
    this.said = el("p", { className: "said", role: "status" })
    this.notes = el("ul", { className: "notes" })
    this.songs = el("div", { className: "songs" })
    this.under = el("div", { className: "under" }, this.phase, this.cancel)
    const top = el("div", { className: "top" }, this.title, this.state)
    this.element = el("section", { className: "job" }, top, this.progress, this.under, this.said, this.songs, this.notes)
    this.element.dataset.created = job.created
    this.element.dataset.job = job.id
  }

  stop(id) {
    attempt(this.said, () => ask(`v1/jobs/${id}`, { method: "DELETE" }))
  }

  show(job) {
    const ended = ENDED.includes(job.state)
    this.element.className = `job ${job.state} ${job.songs ? "" : "answer"}`
    this.state.textContent = this.stateText(job, ended)
    this.progress.hidden = this.under.hidden = ended
    const share = Math.round(100 * (job.progress?.share ?? 0))
    this.bar.style.setProperty("--share", `${share}%`)
    this.progress.setAttribute("aria-valuenow", share)
    this.progress.classList.toggle("unknown", job.state === "running" && !share)
    this.phase.textContent = phaseText(job)
    if (job.error) Object.assign(this.said, { textContent: job.error, className: "said wrong" })
    this.notes.replaceChildren(...job.notes.map((note) => el("li", { textContent: note })))
    for (const song of (job.songs ?? []).slice(this.made)) this.addSong(songCard(song))
    this.made = (job.songs ?? []).length
    this.showEarly(job, ended)
    if (job.state === "done") this.done(job)
  }

  stateText(job, ended) {
    if (job.state === "queued") return say("queued", { place: job.place ?? 1 })
    if (job.cancelled && !ended) return say("cancelling")
    const took = job.state === "done" && job.started ? `${say("done")} · ${clock(job.ended - job.started)}` : ""
    return took || say(job.state)
  }

  /** A finished song. Whoever listens to it already goes on at the same place. */
  addSong(card) {
    const { early } = this
    this.songs.append(card)
    this.early?.element.remove()
    this.early = undefined
    if (!early || early.audio.paused) return
    early.audio.pause()
    const wave = card.querySelector("song-wave")
    wave.audio.volume = early.audio.volume
    wave.play(early.audio.currentTime)
  }

  /** A player of the song that is being decoded, from its beginning on, or of its first seconds. */
  showEarly({ links, songs }, ended) {
    const link = links.sound ?? (songs?.length ? undefined : links.preview)
    const src = link && `${link.slice(1)}?song=${songs?.length ?? 0}` // the sound of each song has the same link
    if (!ended && (!src || src === this.early?.src)) return
    this.early?.element.remove()
    this.early = undefined
    if (ended) return
    const audio = el("audio", { controls: true, src })
    const element = el("label", { className: "preview" }, say(links.sound ? "early" : "preview"), audio)
    this.early = { src, audio, element }
    this.songs.append(element)
  }

  done(job) {
    if (this.isDone) return
    this.isDone = true
    const name = job.songs ? "acestep:songs" : "acestep:answer"
    document.dispatchEvent(new CustomEvent(name, { detail: job }))
    if (job.answer) this.songs.append(...answerParts(job, this.said))
  }
}

function phaseText({ progress, started }) {
  if (!progress) return ""
  const { phase, step, of, share, loss } = progress
  const parts = [phase, of > 0 && step > 0 && say("step", { step, of })]
  if (loss != null) parts.push(say("loss", { loss: loss.toFixed(3) }))
  const left = step > 0 && share > 0.1 && started ? ((Date.now() / 1000 - started) * (1 - share)) / share : NaN
  if (left > 2) parts.push(`≈ ${clock(left)}`)
  return parts.filter(Boolean).join(" · ")
}

// ---- answers ----

function answerParts(job, said) {
  const { answer } = job
  const use = button(say("use_answer"), () => act("answer", job.id))
  if (answer.codes?.length && !answer.song) {
    const text = answer.codes.join(" ")
    const facts = say("codes_of", { count: answer.codes.length, seconds: answer.seconds })
    return [el("p", { textContent: facts }), el("div", { className: "actions" }, use, copyButton(text, said))]
  }
  if (answer.lrc !== undefined) return [el("pre", { textContent: answer.lrc }), el("div", { className: "actions" }, copyButton(answer.lrc, said))]
  if (answer.line) return [el("p", { textContent: answer.line })]
  if (!answer.song) return [el("div", { className: "chips" }, ...factChips(answer))]
  return [songWords(answer.song, answer.description), el("div", { className: "actions" }, use)]
}

function songWords(song, description) {
  const names = ["bpm", "key", "time_signature", "language", "seconds"]
  const facts = names.filter((name) => ![null, "", "unknown", undefined].includes(song[name]))
  const chips = facts.map((name) => el("span", { className: "chip", textContent: `${name.replace("_", " ")}: ${song[name]}` }))
  const words = [song.caption || description, song.lyrics].filter(Boolean)
  return el("div", {}, el("div", { className: "chips" }, ...chips), ...words.map((text) => el("pre", { textContent: text })))
}

/** What an answer says in single values. */
function factChips(answer) {
  const plain = Object.entries(answer).filter(([, value]) => ["string", "number"].includes(typeof value))
  return plain.map(([name, value]) => el("span", { className: "chip", textContent: `${name.replaceAll("_", " ")}: ${value}` }))
}

function copyButton(text, said) {
  return button(say("copy"), () =>
    attempt(said, async () => {
      await navigator.clipboard.writeText(text)
      said.textContent = say("copied")
    }),
  )
}

customElements.define("job-list", JobList)

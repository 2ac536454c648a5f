// <sound-input>: sounds for a form, uploaded, recorded or of the library; with regions drawn where the form has a field.
import { ask, attempt, button, el, say } from "./api.js"
import { RegionLayer } from "./regions.js"
import { menu } from "./songs.js"

const ENDINGS = "audio/*,video/mp4,video/webm,.flac,.opus,.aiff,.m4a"
const PICKED = 12

class SoundInput extends HTMLElement {
  #sounds = []

  connectedCallback() {
    if (this.list) return
    this.most = Number(this.getAttribute("most") || 1)
    this.file = el("input", { type: "file", accept: ENDINGS, hidden: true, multiple: this.most > 1 })
    this.file.addEventListener("change", () => this.uploadChosen())
    this.list = el("div", { className: "sounds" })
    this.said = el("p", { className: "said", role: "status" })
    this.ways = el(
      "div",
      { className: "ways" },
      button(say(this.most > 1 ? "upload_several" : "upload"), () => this.file.click(), { className: "upload" }),
      (this.recorder = button(say("record"), () => this.record(), { className: "record" })),
      this.library(),
      el("span", { className: "hint", textContent: say(this.most > 1 ? "drop_several" : "drop") }),
    )
    const [label, info] = [this.getAttribute("label"), this.getAttribute("info")]
    const title = el("div", { className: "label" }, el("strong", { textContent: label }), el("span", { textContent: info }))
    this.append(title, this.list, this.ways, this.said, this.file)
    this.listenToDrops()
    this.draw()
  }

  listenToDrops() {
    this.addEventListener("dragover", (event) => {
      event.preventDefault()
      this.classList.add("over")
    })
    this.addEventListener("dragleave", () => this.classList.remove("over"))
    this.addEventListener("drop", (event) => {
      event.preventDefault()
      this.classList.remove("over")
      this.upload([...event.dataTransfer.files])
    })
  }

  /** The sounds that the form holds, {id, name} each. */
  show(sounds) {
    if (JSON.stringify(sounds) === JSON.stringify(this.#sounds)) return
    this.#sounds = sounds
    this.draw()
  }

  set(sounds) {
    this.#sounds = sounds.slice(-this.most)
    this.draw()
    this.dispatchEvent(new CustomEvent("sounds", { detail: this.#sounds }))
  }

  draw() {
    const known = new Map([...this.list.children].map((row) => [row.dataset.id, row]))
    this.list.replaceChildren(...this.#sounds.map((sound) => known.get(sound.id) ?? this.row(sound)))
    this.classList.toggle("filled", this.#sounds.length > 0)
  }

  row(sound) {
    const wave = el("song-wave")
    wave.sound = sound
    const remove = () => this.set(this.#sounds.filter(({ id }) => id !== sound.id))
    const close = button("✕", remove, { className: "close", "aria-label": `${say("clear")}: ${sound.name}` })
    const row = el("div", { className: "sound" }, el("span", { className: "name", textContent: sound.name }), close, wave)
    row.dataset.id = sound.id
    if (this.getAttribute("regions")) row.append(new RegionLayer(wave, this.getAttribute("regions")).element)
    return row
  }

  // ---- ways in ----

  uploadChosen() {
    const files = [...this.file.files]
    this.file.value = "" // so that the same file can be chosen again
    return this.upload(files)
  }

  /** Sends files one after the other. One that is refused is named, and the others are sent. */
  async upload(files) {
    const { place } = this
    const refused = files.slice(this.most).map(({ name }) => say("too_many", { name, most: this.most }))
    for (const file of files.slice(0, this.most))
      await this.send(file, file.name, place).catch((error) => refused.push(`${file.name}: ${error.message}`))
    await attempt(this.said, () => {
      if (refused.length) throw new Error(refused.join("\n"))
    })
  }

  /** `place`: what `this.place` was when the sound was chosen; whoever takes the sound gets it back. */
  async send(data, name, place) {
    this.said.classList.remove("wrong")
    this.said.textContent = say("uploading", { name })
    const headers = { "content-type": "application/octet-stream" }
    const { id, seconds } = await ask("v1/uploads", { method: "POST", body: data, headers })
    this.said.textContent = ""
    this.set([...this.#sounds, { id, name, seconds, place }])
  }

  async record() {
    if (this.recording) return this.recording.stop()
    const { place } = this
    await attempt(this.said, async () => {
      const stream = await microphone()
      const parts = []
      this.recording = new MediaRecorder(stream)
      this.recording.addEventListener("dataavailable", ({ data }) => parts.push(data))
      this.recording.addEventListener("stop", () => this.recorded(stream, parts, place))
      this.recording.start()
      this.recorder.textContent = say("stop_recording")
      this.recorder.classList.add("on")
    })
  }

  recorded(stream, parts, place) {
    for (const track of stream.getTracks()) track.stop()
    this.recording = undefined
    this.recorder.textContent = say("record")
    this.recorder.classList.remove("on")
    return attempt(this.said, () => this.send(new Blob(parts), say("recording"), place))
  }

  library() {
    const query = el("input", { type: "search", placeholder: say("search"), "aria-label": say("search") })
    const found = el("div", { className: "found" })
    const look = () => attempt(this.said, () => this.look(query.value, found, made))
    query.addEventListener("input", look)
    query.addEventListener("click", (event) => event.stopPropagation())
    const made = menu(say("pick"), [query, found], "pick")
    made.addEventListener("toggle", () => made.open && look())
    return made
  }

  async look(query, found, made) {
    const { songs } = await ask(`v1/songs?${new URLSearchParams({ q: query, limit: PICKED })}`)
    const choose = (song, name) => () => {
      made.open = false
      this.set([...this.#sounds.filter(({ id }) => id !== song.id), { id: song.id, name, place: this.place }])
    }
    const rows = songs.map((song) => [song, song.title || song.caption || song.id])
    found.replaceChildren(...rows.map(([song, name]) => button(name, choose(song, name))))
    if (!songs.length) found.textContent = say(query ? "nothing_found" : "no_songs")
  }
}

async function microphone() {
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: true })
  } catch (error) {
    throw new Error(say("no_microphone", { why: error.message }))
  }
}

customElements.define("sound-input", SoundInput)

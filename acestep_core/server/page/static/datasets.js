// <data-sets>: clips to train on, with their labels, which are saved as soon as their field is left.
import { ask, attempt, button, el, say } from "./api.js"

const LABELS = ["caption", "lyrics", "bpm", "key"]
const TEXTS = ["caption", "lyrics"]
const SHOWN = { bpm: "tempo" }
const CLIPS_MOST = 2000
const LABELLED_MS = 300 // events of a job that labels come in rows
const OPENED = "acestep-dataset" // the dataset that was opened last

const json = (method, body) => ({ method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) })
const plain = (value) => String(value ?? "").trim()

/** What stands in a field as the server takes it. */
const labelOf = ({ name, value }) => (name === "bpm" && Number(value)) || plain(value) || null

/** Players of clips read how long these are once one scrolls to them. */
const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue
    target.preload = "metadata"
    seen.unobserve(target)
  }
})

class DataSets extends HTMLElement {
  #rows = new Map() // id of a clip -> its row
  #listed = 0 // of lists, and of clips, only the answer that was asked for last is shown
  #asked = 0

  connectedCallback() {
    if (this.rows) return
    this.choice = el("select", { "aria-label": say("dataset"), onchange: () => this.open(this.choice.value) })
    this.name = el("input", { type: "text", placeholder: say("new_dataset"), "aria-label": say("new_dataset") })
    const begin = button(say("begin"), () => this.begin())
    this.said = el("p", { className: "said", role: "status" })
    this.refused = el("p", { className: "said wrong", role: "status" })
    this.count = el("p", { className: "hint", role: "status" })
    this.sounds = el("sound-input")
    this.sounds.setAttribute("most", CLIPS_MOST)
    this.sounds.setAttribute("label", say("add_clips"))
    this.sounds.addEventListener("sounds", ({ detail }) => this.take(detail))
    this.rows = el("div", { className: "clips" })
    this.tools = el(
      "div",
      { className: "actions" },
      button(say("label_all"), () => this.label()),
      button(say("remove_dataset"), ({ target }) => this.removal(target), { className: "danger" }),
    )
    const top = el("div", { className: "tools" }, this.choice, this.name, begin)
    this.append(top, this.count, this.rows, this.sounds, this.refused, this.tools, this.said)
    document.addEventListener("acestep:job", ({ detail }) => detail.kind === "label" && this.labelled(detail))
    this.list(localStorage.getItem(OPENED))
  }

  /** Lists all datasets, and opens one of them. */
  async list(chosen) {
    const listed = ++this.#listed
    const found = await attempt(this.said, () => ask("v1/datasets"))
    if (listed !== this.#listed) return
    const names = (found?.datasets ?? []).map(({ name }) => name)
    const options = names.map((name) => el("option", { value: name, textContent: name }))
    this.choice.replaceChildren(el("option", { value: "", textContent: say("choose") }), ...options)
    this.choice.value = names.includes(chosen) ? chosen : ""
    await this.open(this.choice.value)
  }

  /** Sounds that are chosen from now on are for the new dataset, and wait for it. */
  begin() {
    const name = this.name.value.trim()
    this.sounds.place = name
    return this.next(async () => {
      try {
        await ask("v1/datasets", json("POST", { name }))
      } catch (error) {
        this.sounds.place = this.opened
        throw error
      }
      this.name.value = ""
      await this.list(name)
    })
  }

  /** Does work behind all that was begun before it. */
  next(work) {
    this.working = (this.working ?? Promise.resolve()).then(() => attempt(this.said, work))
    return this.working
  }

  open(name) {
    this.opened = this.sounds.place = name
    localStorage.setItem(OPENED, name)
    this.sounds.hidden = this.tools.hidden = !name
    this.refused.textContent = this.said.textContent = ""
    this.dispatchEvent(new CustomEvent("dataset", { detail: name }))
    this.show([])
    return this.refresh()
  }

  /** Shows the clips that the server has; what is typed and not saved yet stays. */
  async refresh() {
    const asked = ++this.#asked
    if (!this.opened) return
    const found = await ask(`v1/datasets/${this.opened}`).catch(() => null) // the next one brings what this one did not
    if (found && asked === this.#asked) this.show(found.clips)
  }

  labelled(job) {
    if (job.ended) this.said.textContent = ""
    clearTimeout(this.soon)
    this.soon = setTimeout(() => this.refresh(), LABELLED_MS)
  }

  show(clips) {
    const known = this.#rows
    this.#rows = new Map(clips.map((clip) => [clip.id, known.get(clip.id) ?? new ClipRow(clip, this)]))
    for (const [id, row] of known) if (!this.#rows.has(id)) row.element.remove()
    for (const [index, clip] of clips.entries()) {
      const { element } = this.#rows.get(clip.id).show(clip)
      if (this.rows.children[index] !== element) this.rows.insertBefore(element, this.rows.children[index] ?? null)
    }
    this.tell()
  }

  tell() {
    const rows = [...this.#rows.values()]
    const labelled = rows.filter(({ clip }) => clip.labelled).length
    this.count.textContent = this.opened ? say("clips", { count: rows.length, labelled }) : ""
  }

  /** Puts sounds into their datasets. They leave the field at once: more may come while these are on their way. */
  take(sounds) {
    this.sounds.show([])
    for (const { id, name, place } of sounds) this.next(() => this.put(id, name, place))
  }

  async put(clip, name, place) {
    try {
      await ask(`v1/datasets/${place}/clips`, json("POST", { clip, labels: { file: name } }))
    } catch (error) {
      this.refused.textContent += `${name}: ${error.message}\n`
    }
    await this.refresh()
  }

  /** Lets a planner label the clips, once all that was typed is saved, for it changes no label that is there. */
  label() {
    return attempt(this.said, async () => {
      await Promise.all([...this.#rows.values()].map((row) => row.save()))
      await ask(`v1/datasets/${this.opened}/label`, json("POST", {}))
      this.said.textContent = say("labelling")
    })
  }

  removal(target) {
    if (target.textContent !== say("sure")) return (target.textContent = say("sure"))
    target.textContent = say("remove_dataset")
    return this.next(() => ask(`v1/datasets/${this.opened}`, { method: "DELETE" }).then(() => this.list("")))
  }
}

class ClipRow {
  constructor(clip, sets) {
    this.clip = {}
    this.sets = sets
    this.here = `v1/datasets/${sets.opened}/clips/${clip.id}`
    this.fields = LABELS.map((name) => this.field(name))
    this.said = el("span", { className: "said", role: "status" })
    const named = clip.file ?? clip.id
    const close = button("✕", () => this.remove(), { className: "close", "aria-label": `${say("clear")}: ${named}` })
    const right = el("span", {}, this.said, close)
    const top = el("div", { className: "top" }, el("strong", { textContent: named }), right)
    const audio = el("audio", { controls: true, preload: "none", src: clip.audio.slice(1) })
    seen.observe(audio)
    this.element = el("div", { className: "clip" }, top, audio, el("div", { className: "labels" }, ...this.fields))
  }

  field(name) {
    const label = say(SHOWN[name] ?? name)
    const kind = TEXTS.includes(name) ? "textarea" : "input"
    return el(kind, { name, className: name, placeholder: label, "aria-label": label, title: label, rows: 2, onchange: () => this.save() })
  }

  /** Shows the labels that the server has, in the fields where nothing else was typed. */
  show(clip) {
    for (const field of this.fields) {
      const [old, label] = [plain(this.clip[field.name]), plain(clip[field.name])]
      if ([old, label].includes(plain(field.value)) && field.value !== label) field.value = label
    }
    this.clip = clip
    return this
  }

  async save() {
    const changed = this.fields.filter(({ name, value }) => plain(value) !== plain(this.clip[name]))
    if (!changed.length) return
    await attempt(this.said, async () => {
      const labels = Object.fromEntries(changed.map((field) => [field.name, labelOf(field)]))
      this.show(await ask(this.here, json("PUT", labels)))
      this.sets.tell()
      this.said.textContent = say("saved")
    })
  }

  remove() {
    return attempt(this.said, () => ask(this.here, { method: "DELETE" }).then(() => this.sets.refresh()))
  }
}

customElements.define("data-sets", DataSets)

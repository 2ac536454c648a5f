// <data-sets>: clips to train on, with their labels. <lora-list>: the adapters of trainings, with their losses.
import { ask, attempt, button, el, say } from "./api.js"

const LABELS = ["caption", "lyrics", "bpm", "key"]
const SHOWN = { bpm: "tempo" }

const OPENED = "acestep-dataset" // the dataset that was opened last

const json = (method, body) => ({ method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) })

class DataSets extends HTMLElement {
  connectedCallback() {
    if (this.rows) return
    this.choice = el("select", { "aria-label": say("dataset"), onchange: () => this.open(this.choice.value) })
    this.name = el("input", { type: "text", placeholder: say("new_dataset"), "aria-label": say("new_dataset") })
    const begin = button(say("begin"), () => this.begin())
    this.said = el("p", { className: "said", role: "status" })
    this.count = el("p", { className: "hint", role: "status" })
    this.sounds = el("sound-input")
    this.sounds.setAttribute("most", "50")
    this.sounds.setAttribute("label", say("add_clips"))
    this.sounds.addEventListener("sounds", ({ detail }) => this.take(detail))
    this.rows = el("div", { className: "clips" })
    this.tools = el(
      "div",
      { className: "actions" },
      button(say("label_all"), () => attempt(this.said, () => ask(`v1/datasets/${this.opened}/label`, json("POST", {})))),
      button(say("remove_dataset"), ({ target }) => this.removal(target), { className: "danger" }),
    )
    this.append(el("div", { className: "tools" }, this.choice, this.name, begin), this.count, this.rows, this.sounds, this.tools, this.said)
    document.addEventListener("acestep:answer", ({ detail }) => detail.kind === "label" && this.open(this.opened))
    this.list()
  }

  async list(chosen = this.opened ?? localStorage.getItem(OPENED)) {
    const found = await attempt(this.said, () => ask("v1/datasets"))
    const names = (found?.datasets ?? []).map(({ name }) => name)
    const options = names.map((name) => el("option", { value: name, textContent: name }))
    this.choice.replaceChildren(el("option", { value: "", textContent: say("choose") }), ...options)
    this.choice.value = names.includes(chosen) ? chosen : ""
    await this.open(this.choice.value)
  }

  begin() {
    return attempt(this.said, async () => {
      const name = this.name.value.trim()
      await ask("v1/datasets", json("POST", { name }))
      this.name.value = ""
      await this.list(name)
    })
  }

  async open(name) {
    this.opened = name
    localStorage.setItem(OPENED, name)
    this.sounds.hidden = this.tools.hidden = !name
    this.dispatchEvent(new CustomEvent("dataset", { detail: name }))
    const found = name && (await attempt(this.said, () => ask(`v1/datasets/${name}`)))
    this.clips = found?.clips ?? []
    this.rows.replaceChildren(...this.clips.map((clip) => this.row(clip)))
    this.tell()
  }

  tell() {
    const labelled = this.clips.filter((one) => one.labelled).length
    this.count.textContent = this.opened ? say("clips", { count: this.clips.length, labelled }) : ""
  }

  /** Puts sounds into the dataset. They leave the field at once: more may come while these are on their way. */
  take(sounds) {
    this.sounds.show([])
    const put = async () => {
      for (const { id, name } of sounds) await ask(`v1/datasets/${this.opened}/clips`, json("POST", { clip: id, labels: { file: name } }))
      await this.open(this.opened)
    }
    this.taken = (this.taken ?? Promise.resolve()).then(() => attempt(this.said, put))
  }

  row(clip) {
    const here = `v1/datasets/${this.opened}/clips/${clip.id}`
    const fields = LABELS.map((name) => {
      const label = say(SHOWN[name] ?? name)
      const kind = name === "lyrics" ? "textarea" : "input"
      return el(kind, { name, value: clip[name] ?? "", placeholder: label, "aria-label": label, rows: 2 })
    })
    const said = el("span", { className: "said", role: "status" })
    const save = () =>
      attempt(said, async () => {
        const labels = Object.fromEntries(fields.map(({ name, value }) => [name, value.trim() || null]))
        Object.assign(clip, await ask(here, json("PUT", labels)))
        this.tell()
        said.textContent = say("saved")
      })
    const remove = () => attempt(said, () => ask(here, { method: "DELETE" }).then(() => this.open(this.opened)))
    const audio = el("audio", { controls: true, preload: "none", src: clip.audio.slice(1) })
    const close = button("✕", remove, { className: "close", "aria-label": `${say("clear")}: ${clip.file ?? clip.id}` })
    const top = el("div", { className: "top" }, el("strong", { textContent: clip.file ?? clip.id }), close)
    return el("div", { className: "clip" }, top, audio, el("div", { className: "labels" }, ...fields), button(say("save"), save), said)
  }

  removal(target) {
    if (target.textContent !== say("sure")) return (target.textContent = say("sure"))
    target.textContent = say("remove_dataset")
    return attempt(this.said, () => ask(`v1/datasets/${this.opened}`, { method: "DELETE" }).then(() => this.list("")))
  }
}

class LoraList extends HTMLElement {
  connectedCallback() {
    if (this.list) return
    this.said = el("p", { className: "said", role: "status" })
    this.list = el("div", { className: "jobs" })
    this.append(el("h2", { textContent: say("adapters") }), this.said, this.list)
    document.addEventListener("acestep:answer", ({ detail }) => detail.kind === "train_lora" && this.trained(detail))
    this.load()
  }

  /** Forms list the adapter from now on; of those that were there before the page was opened, they know. */
  trained(job) {
    this.load()
    if (1000 * job.ended > performance.timeOrigin) document.dispatchEvent(new CustomEvent("acestep:act", { detail: { act: "names" } }))
  }

  async load() {
    const found = await attempt(this.said, () => ask("v1/loras"))
    const own = (found?.loras ?? []).filter((one) => one.trained_here)
    this.list.replaceChildren(...own.map((one) => this.row(one)))
    if (!own.length) this.said.textContent = say("no_adapters")
  }

  row({ name, steps, finished }) {
    const state = finished ? say("trained_steps", { steps: steps ?? "" }) : say("unfinished")
    const said = el("p", { className: "said", role: "status" })
    const plot = el("div", { className: "plot" })
    const show = () =>
      attempt(said, async () => {
        const { losses, previews } = await ask(`v1/loras/${name}`)
        plot.replaceChildren(curve(losses), ...previews.map((step) => preview(name, step)))
      })
    const remove = ({ target }) => {
      if (target.textContent !== say("sure")) return (target.textContent = say("sure"))
      return attempt(said, () => ask(`v1/loras/${name}`, { method: "DELETE" }).then(() => this.load()))
    }
    const link = finished && el("a", { href: `v1/loras/${name}/file`, textContent: say("fetch"), download: "", className: "linked" })
    const actions = el("div", { className: "actions" }, button(say("losses"), show), link, button(say("clear"), remove, { className: "danger" }))
    const top = el("div", { className: "top" }, el("h3", { textContent: name }), el("span", { className: "state", textContent: state }))
    return el("section", { className: "job" }, top, plot, actions, said)
  }
}

/** The song of a step of a training; step 0 is without the adapter. */
function preview(name, step) {
  const audio = el("audio", { controls: true, preload: "none", src: `v1/loras/${name}/previews/${step}` })
  return el("label", { className: "preview" }, step ? say("preview_step", { step }) : say("preview_without"), audio)
}

/** Losses [step, loss, learning rate, loss on clips held out] as a line, and points of what was held out. */
function curve(losses) {
  const name = "http://www.w3.org/2000/svg"
  const svg = document.createElementNS(name, "svg")
  const [steps, values] = [losses.map(([step]) => step), losses.map(([, loss]) => loss)]
  const [first, last, most] = [steps[0] ?? 0, steps.at(-1) ?? 1, Math.max(...values, 1e-9)]
  const point = (step, loss) => `${(300 * (step - first)) / (last - first || 1)},${80 - (76 * loss) / most}`
  svg.setAttribute("viewBox", "0 0 300 80")
  svg.setAttribute("role", "img")
  svg.setAttribute("aria-label", `${say("losses")}: ${values.at(-1)?.toFixed(3)}`)
  const line = document.createElementNS(name, "polyline")
  line.setAttribute("points", losses.map(([step, loss]) => point(step, loss)).join(" "))
  svg.append(line)
  for (const [step, , , held] of losses) {
    if (held == null) continue
    const dot = document.createElementNS(name, "circle")
    const [x, y] = point(step, held).split(",")
    for (const [key, value] of Object.entries({ cx: x, cy: y, r: 2 })) dot.setAttribute(key, value)
    svg.append(dot)
  }
  return svg
}

customElements.define("data-sets", DataSets)
customElements.define("lora-list", LoraList)

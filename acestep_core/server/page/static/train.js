// <lora-list>: the adapters of trainings, with their losses.
import { ask, attempt, button, el, say } from "./api.js"

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

customElements.define("lora-list", LoraList)

// Regions of a sound: drawn on its waveform, and kept as text in a field of the form, which is the truth of them.
import { button, clock, el, say } from "./api.js"

const LEAST_SECONDS = 0.1
const NEAR_PX = 7
const DRAG_PX = 4
const NEW_SECONDS = 5
const STEP_SECONDS = 0.5
const LOOK_MS = 400 // the field may be changed, shown and hidden by the form
const TIME = String.raw`(?:(\d{1,3}):)?(\d{1,5}(?:\.\d{1,6})?)`
const SECONDS = new RegExp(String.raw`^${TIME}\s*-\s*(?:${TIME}|end)\s*s?$`)

/** A text -> {regions: [{start, end}], others: texts that are none in seconds}. */
export function readRegions(text, duration) {
  const [regions, others] = [[], []]
  for (const part of text.split(/[,;\n]/).map((one) => one.trim())) {
    const found = SECONDS.exec(part)
    const start = found && 60 * (found[1] ?? 0) + Number(found[2])
    const end = found && (found[4] === undefined ? duration : 60 * (found[3] ?? 0) + Number(found[4]))
    if (found && end > start) regions.push({ start, end })
    else if (part) others.push(part)
  }
  return { regions: regions.sort((a, b) => a.start - b.start), others }
}

export function writeRegions({ regions, others }) {
  const short = (seconds) => String(Number(seconds.toFixed(2)))
  return [...regions.map(({ start, end }) => `${short(start)}-${short(end)}`), ...others].join(", ")
}

/** Regions with the one at an index put elsewhere, between its neighbours and the ends of the sound. */
export function placed(regions, index, { start, end }, duration) {
  const [low, high] = [regions[index - 1]?.end ?? 0, regions[index + 1]?.start ?? duration]
  const from = Math.max(low, Math.min(start, high - LEAST_SECONDS))
  const to = Math.min(high, Math.max(end, from + LEAST_SECONDS))
  return regions.map((one, at) => (at === index ? { start: from, end: to } : one))
}

/** The same, of one that keeps its length. */
export function moved(regions, index, start, duration) {
  const length = regions[index].end - regions[index].start
  const [low, high] = [regions[index - 1]?.end ?? 0, regions[index + 1]?.start ?? duration]
  const from = Math.max(low, Math.min(start, high - length))
  return placed(regions, index, { start: from, end: from + length }, duration)
}

export class RegionLayer {
  #text

  constructor(wave, fieldId) {
    this.wave = wave
    this.fieldId = fieldId
    this.read = { regions: [], others: [] }
    const add = button(say("add_region"), () => this.addAtHead())
    const clear = button(say("clear_regions"), () => this.write({ regions: [], others: [] }))
    const hint = el("span", { className: "hint", textContent: say("region_hint") })
    this.element = el("div", { className: "region-tools" }, add, clear, hint)
    wave.track.addEventListener("pointerdown", (event) => this.press(event))
    wave.addEventListener("outline", () => this.look(true))
    this.watching = setInterval(() => this.look(), LOOK_MS)
  }

  get field() {
    return document.querySelector(`#${this.fieldId} :is(input, textarea)`)
  }

  look(anew = false) {
    const field = this.field
    this.element.hidden = this.wave.layer.hidden = !field
    this.wave.classList.toggle("editable", Boolean(field))
    if (!field || (field.value === this.#text && !anew)) return
    this.#text = field.value
    this.read = readRegions(field.value, this.wave.duration || Infinity)
    this.draw()
  }

  write(read) {
    this.read = read
    this.#text = writeRegions(read)
    const field = this.field
    field.value = this.#text
    field.dispatchEvent(new Event("input", { bubbles: true }))
    this.draw()
  }

  change(regions) {
    this.write({ ...this.read, regions })
  }

  draw() {
    const { duration } = this.wave
    if (!duration) return
    const focused = [...this.wave.layer.children].indexOf(document.activeElement)
    this.wave.layer.replaceChildren(...this.read.regions.map((one, index) => this.box(one, index, duration)))
    if (focused >= 0) this.wave.layer.children[Math.min(focused, this.read.regions.length - 1)]?.focus()
  }

  box({ start, end }, index, duration) {
    const label = say("region_label", { number: index + 1, start: clock(start, 1), end: clock(end, 1) })
    const box = el("div", { className: "region", tabIndex: 0, role: "button", "aria-label": label, title: label })
    box.style.left = `${(100 * start) / duration}%`
    box.style.width = `${(100 * (Math.min(end, duration) - start)) / duration}%`
    box.addEventListener("keydown", (event) => this.key(event, index))
    return box
  }

  addAtHead() {
    const { duration, at } = this.wave
    const start = Math.min(at, Math.max(0, duration - NEW_SECONDS))
    this.add(start, Math.min(duration, start + NEW_SECONDS))
  }

  /** Takes in a new region as far as there is room around its start. */
  add(start, end) {
    const { regions } = this.read
    const before = Math.max(0, ...regions.filter((one) => one.start <= start).map((one) => one.end))
    const behind = Math.min(this.wave.duration, ...regions.filter((one) => one.start > start).map((one) => one.start))
    const made = { start: Math.max(start, before), end: Math.min(end, behind) }
    if (made.end - made.start >= LEAST_SECONDS) this.change([...regions, made].sort((a, b) => a.start - b.start))
  }

  key(event, index) {
    const { regions } = this.read
    const { duration } = this.wave
    const step = { ArrowLeft: -STEP_SECONDS, ArrowRight: STEP_SECONDS }[event.key]
    const { start, end } = regions[index]
    if (step && event.shiftKey) this.change(placed(regions, index, { start, end: end + step }, duration))
    else if (step) this.change(moved(regions, index, start + step, duration))
    else if (event.key === "Delete" || event.key === "Backspace") this.change(regions.filter((_, at) => at !== index))
    else if (event.key === "Enter" || event.key === " ") this.wave.play(start)
    else return
    event.preventDefault()
    event.stopPropagation()
  }

  // ---- pointer ----

  press(event) {
    if (!this.field || event.button !== 0 || !this.wave.duration) return
    const { track } = this.wave
    const began = { x: event.clientX, at: this.wave.timeAt(event), regions: this.read.regions, grip: this.grip(event) }
    track.setPointerCapture(event.pointerId)
    const move = (now) => this.drag(now, began)
    const end = () => {
      track.removeEventListener("pointermove", move)
      setTimeout(() => (this.wave.held = false)) // after the click that ends a drag
    }
    track.addEventListener("pointermove", move)
    track.addEventListener("pointerup", end, { once: true })
    track.addEventListener("pointercancel", end, { once: true })
  }

  /** What lies under the pointer: {index, kind} with kind "start", "end" or "whole"; undefined where nothing does. */
  grip(event) {
    const { width } = this.wave.track.getBoundingClientRect()
    const [at, near] = [this.wave.timeAt(event), (NEAR_PX * this.wave.duration) / width]
    for (const [index, { start, end }] of this.read.regions.entries()) {
      if (Math.abs(end - at) < near) return { index, kind: "end" }
      if (Math.abs(start - at) < near) return { index, kind: "start" }
      if (start < at && at < end) return { index, kind: "whole" }
    }
  }

  drag(event, began) {
    if (!this.wave.held && Math.abs(event.clientX - began.x) < DRAG_PX) return
    this.wave.held = true
    const [at, { regions, grip }] = [this.wave.timeAt(event), began]
    this.read = { ...this.read, regions }
    if (!grip) return this.add(Math.min(at, began.at), Math.max(at, began.at))
    const { index, kind } = grip
    const { start, end } = regions[index]
    if (kind === "whole") this.change(moved(regions, index, start + at - began.at, this.wave.duration))
    else this.change(placed(regions, index, { start, end, [kind]: at }, this.wave.duration))
  }
}

// Regions of a sound: drawn on its waveform, and kept as text in a field of the form, which is the truth of them.
import { ask, button, clock, el, say } from "./api.js"
import { added, gridLines, moved, readRegions, removed, resized, snapped, stepOf, writeRegions } from "./region_times.js"

const NEAR_PX = 7
const DRAG_PX = 4
const LINE_PX = 8 // between lines of beats, at least
const NEW_SECONDS = 5
const LOOK_MS = 400 // the field may be changed, shown and hidden by the form
const SNAP_KEPT = "acestep-snap"
const SNAPS = ["off", "beats", "bars"]
const SNAP_TEXTS = { off: "snap_off", beats: "snap_beats", bars: "snap_bars" }

export class RegionLayer {
  #text

  constructor(wave, fieldId) {
    this.wave = wave
    this.fieldId = fieldId
    this.read = { regions: [], others: [] }
    const add = button(say("add_region"), () => this.addAtHead())
    const clear = button(say("clear_regions"), () => this.write({ regions: [], others: [] }))
    const hint = el("span", { className: "hint", textContent: say("region_hint") })
    this.element = el("div", { className: "region-tools" }, add, clear, this.snapping(), hint)
    this.grid = el("div", { className: "beats" })
    wave.layer.before(this.grid)
    wave.track.addEventListener("pointerdown", (event) => this.press(event))
    wave.addEventListener("outline", () => this.look(true))
    this.watching = setInterval(() => this.look(), LOOK_MS)
  }

  get field() {
    return document.querySelector(`#${this.fieldId} :is(input, textarea)`)
  }

  look(anew = false) {
    const field = this.field
    this.element.hidden = this.wave.layer.hidden = this.grid.hidden = !field
    this.wave.classList.toggle("editable", Boolean(field))
    if (field) this.lookForBeats()
    if (!field || (field.value === this.#text && !anew)) return
    this.#text = field.value
    this.read = readRegions(field.value, { beats: this.beats, duration: this.wave.duration || undefined })
    this.draw()
  }

  // ---- beats ----

  snapping() {
    const options = SNAPS.map((name) => el("option", { value: name, textContent: say(SNAP_TEXTS[name]) }))
    this.choice = el("select", { "aria-label": say("snap"), title: say("snap_hint") }, ...options)
    this.choice.value = SNAPS.find((name) => name === localStorage.getItem(SNAP_KEPT)) ?? "beats"
    this.choice.addEventListener("change", () => this.snapBy(this.choice.value))
    this.tempo = el("span", { className: "hint", role: "status" })
    return el("label", { className: "snap" }, say("snap"), this.choice, this.tempo)
  }

  snapBy(name) {
    localStorage.setItem(SNAP_KEPT, name)
    this.tell()
    this.drawGrid()
  }

  /** Asks for the beats of the sound, and again where another tempo is written in the form. */
  async lookForBeats() {
    const bpm = Number(document.querySelector(`#${this.fieldId.replace("regions", "bpm")} input`)?.value) || 0
    const asked = `v1/sounds/${this.wave.sound.id}/beats?bpm=${bpm}`
    if (this.asked === asked) return
    this.asked = asked
    this.tell(true)
    const found = await ask(asked).catch(() => ({}))
    if (this.asked !== asked) return
    this.beats = found.beat ? found : undefined
    this.tell()
    this.look(true)
  }

  tell(isMeasuring = false) {
    const bpm = this.beats && Number((60 / this.beats.beat).toFixed(1))
    const known = bpm ? say("bpm", { bpm }) : say(isMeasuring ? "measuring" : "no_tempo")
    this.tempo.textContent = this.choice.value === "off" ? "" : known
  }

  snapped(at, event) {
    return event?.altKey ? at : snapped(at, this.choice.value, this.beats, this.wave.duration)
  }

  drawGrid() {
    const { duration, track } = this.wave
    const isShown = this.beats && duration && this.choice.value !== "off"
    const lines = isShown ? gridLines(this.beats, 0, duration, (LINE_PX * duration) / (track.clientWidth || 400)) : []
    this.grid.replaceChildren(
      ...lines.map(({ at, bar }) => {
        const line = el("i", { className: bar ? "bar" : "" })
        line.style.left = `${(100 * at) / duration}%`
        return line
      }),
    )
  }

  // ---- regions ----

  write(read) {
    this.read = read
    this.#text = writeRegions(read.regions, read.others)
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
    this.drawGrid()
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
    this.add(this.snapped(start), this.snapped(Math.min(duration, start + NEW_SECONDS)))
  }

  add(from, to) {
    const { regions, index } = added(this.read.regions, from, to, this.wave.duration)
    if (index >= 0) this.change(regions)
  }

  key(event, index) {
    const { regions } = this.read
    const { duration } = this.wave
    const far = stepOf(this.choice.value, this.beats)
    const step = { ArrowLeft: -far, ArrowRight: far }[event.key]
    const { start, end } = regions[index]
    if (step && event.shiftKey) this.change(resized(regions, index, "end", end + step, duration))
    else if (step) this.change(moved(regions, index, start + step, duration))
    else if (event.key === "Delete" || event.key === "Backspace") this.change(removed(regions, index))
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
    if (!grip) return this.add(this.snapped(began.at, event), this.snapped(at, event))
    const { index, kind } = grip
    const to = this.snapped(kind === "whole" ? regions[index].start + at - began.at : at, event)
    if (kind === "whole") this.change(moved(regions, index, to, this.wave.duration))
    else this.change(resized(regions, index, kind, to, this.wave.duration))
  }
}

// <song-wave>: a player with the waveform of a sound, and below it the line of the lyrics that is sung.
import { ask, clock, el, say } from "./api.js"

const SKIP_SECONDS = 5
const BAR_PX = 3
let playing // one at a time

export class SongWave extends HTMLElement {
  #sound
  #peaks
  lines = []

  constructor() {
    super()
    this.audio = el("audio", { preload: "none" })
    this.toggle = el("button", { type: "button", className: "play", onclick: () => this.playOrPause() })
    this.canvas = el("canvas")
    this.layer = el("div", { className: "layer" })
    this.head = el("div", { className: "head" })
    const slider = { className: "track", tabIndex: 0, role: "slider", "aria-label": say("seek"), "aria-valuemin": 0 }
    this.track = el("div", slider, this.canvas, this.layer, this.head)
    this.time = el("span", { className: "clock" })
    this.sung = el("div", { className: "sung" })
    this.listen()
  }

  connectedCallback() {
    if (this.isConnected && !this.firstChild) {
      this.append(el("div", { className: "wave" }, this.toggle, this.track, this.time), this.sung, this.audio)
      new ResizeObserver(() => this.draw()).observe(this.track)
      new IntersectionObserver(([seen]) => seen.isIntersecting && this.loadPeaks()).observe(this.track)
    }
    this.show()
  }

  listen() {
    const { audio, track } = this
    for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, () => this.show())
    audio.addEventListener("timeupdate", () => this.show())
    audio.addEventListener("durationchange", () => this.show())
    audio.addEventListener("play", () => this.follow())
    track.addEventListener("click", (event) => event.detail && !this.held && this.seek(this.timeAt(event)))
    track.addEventListener("keydown", (event) => this.key(event))
  }

  /** {id, seconds}: a handle, and its length if that is known. */
  set sound(sound) {
    if (this.#sound?.id === sound?.id) return
    this.audio.pause()
    this.#sound = sound
    this.#peaks = undefined
    this.audio.removeAttribute("src")
    if (this.isConnected) this.loadPeaks()
    this.show()
  }

  get sound() {
    return this.#sound
  }

  get duration() {
    if (this.#peaks) return this.#peaks.seconds
    return Number.isFinite(this.audio.duration) ? this.audio.duration : (this.#sound?.seconds ?? 0)
  }

  get at() {
    return this.audio.currentTime
  }

  async loadPeaks() {
    if (!this.#sound || this.#peaks || this.loading === this.#sound.id) return
    this.loading = this.#sound.id
    const id = this.loading
    try {
      const found = await ask(`v1/sounds/${id}/peaks?columns=600`)
      if (this.#sound?.id === id) this.#peaks = found
    } catch {
      // without its outline a sound plays as well
    }
    this.loading = undefined
    this.draw()
    this.show()
    this.dispatchEvent(new Event("outline"))
  }

  // ---- playing ----

  playOrPause() {
    if (!this.audio.paused) return this.audio.pause()
    return this.play()
  }

  async play(at) {
    if (!this.audio.src) this.audio.src = `v1/sounds/${this.#sound.id}/audio`
    if (playing !== this) playing?.audio.pause()
    playing = this
    this.loadPeaks()
    if (at !== undefined) this.seek(at)
    await this.audio.play().catch(() => {})
    this.dispatchEvent(new Event("playing", { bubbles: true }))
  }

  seek(at) {
    if (!this.audio.src && this.#sound) this.audio.src = `v1/sounds/${this.#sound.id}/audio`
    const to = Math.min(Math.max(0, at), Math.max(0, this.duration - 0.05))
    if (this.audio.readyState) this.audio.currentTime = to
    else this.audio.addEventListener("loadedmetadata", () => (this.audio.currentTime = to), { once: true })
    if (!this.audio.readyState) this.audio.load()
    this.show(to)
  }

  key(event) {
    const steps = { ArrowLeft: -SKIP_SECONDS, ArrowRight: SKIP_SECONDS }
    if (event.target !== this.track) return
    if (event.key in steps) this.seek(this.at + steps[event.key])
    else if (event.key === " " || event.key === "Enter") this.playOrPause()
    else if (event.key === "Home") this.seek(0)
    else return
    event.preventDefault()
  }

  timeAt({ clientX }) {
    const { left, width } = this.track.getBoundingClientRect()
    return (Math.min(1, Math.max(0, (clientX - left) / (width || 1))) || 0) * this.duration
  }

  follow() {
    const again = () => {
      this.show()
      if (!this.audio.paused && this.isConnected) requestAnimationFrame(again)
    }
    requestAnimationFrame(again)
  }

  // ---- drawing ----

  show(at = this.at) {
    const isOn = !this.audio.paused
    this.toggle.classList.toggle("on", isOn)
    this.toggle.setAttribute("aria-label", say(isOn ? "pause" : "play"))
    const duration = this.duration
    this.time.textContent = `${clock(at)} / ${clock(duration || NaN)}`
    this.track.setAttribute("aria-valuemax", duration.toFixed(1))
    this.track.setAttribute("aria-valuenow", at.toFixed(1))
    this.track.setAttribute("aria-valuetext", this.time.textContent)
    this.head.style.left = `${duration ? (100 * at) / duration : 0}%`
    this.style.setProperty("--played", `${duration ? (100 * at) / duration : 0}%`)
    this.draw(at)
    this.sing(at)
  }

  draw(at = this.at) {
    const { width, height } = this.track.getBoundingClientRect()
    if (!width) return
    const ratio = devicePixelRatio || 1
    if (this.canvas.width !== Math.round(width * ratio)) this.canvas.width = Math.round(width * ratio)
    if (this.canvas.height !== Math.round(height * ratio)) this.canvas.height = Math.round(height * ratio)
    const pen = this.canvas.getContext("2d")
    const style = getComputedStyle(this)
    pen.setTransform(ratio, 0, 0, ratio, 0, 0)
    pen.clearRect(0, 0, width, height)
    const played = this.duration ? (at / this.duration) * width : 0
    for (const [x, low, high] of bars(this.#peaks?.peaks ?? [], Math.floor(width / BAR_PX))) {
      pen.fillStyle = style.getPropertyValue(x * BAR_PX < played ? "--wave-played" : "--wave")
      const top = (height / 2) * (1 - high)
      pen.fillRect(x * BAR_PX, top, BAR_PX - 1, Math.max(1.5, (height / 2) * (1 - low) - top))
    }
  }

  /** Shows the line that is sung, and the one behind it. */
  sing(at) {
    const index = this.lines.findLastIndex(({ start }) => start <= at + 0.05)
    if (this.sungIndex === index && this.sungOf === this.lines) return
    Object.assign(this, { sungIndex: index, sungOf: this.lines })
    const shown = this.lines.length ? [this.lines[index], this.lines[index + 1]].filter(Boolean) : []
    this.sung.replaceChildren(
      ...shown.map((line) =>
        el("button", { type: "button", className: line === this.lines[index] ? "now" : "", textContent: line.text, onclick: () => this.play(line.start) }),
      ),
    )
  }
}

/** Pairs of peaks -> [column, lowest, highest] of so many columns; quiet music is enlarged. */
function* bars(peaks, columns) {
  const loudest = peaks.reduce((found, [low, high]) => Math.max(found, high, -low), 0)
  const gain = loudest ? Math.min(8, 0.95 / loudest) : 1
  for (let column = 0; column < columns && peaks.length; column++) {
    const first = Math.floor((column * peaks.length) / columns)
    const part = peaks.slice(first, Math.max(first + 1, Math.floor(((column + 1) * peaks.length) / columns)))
    yield [column, gain * Math.min(...part.map(([low]) => low)), gain * Math.max(...part.map(([, high]) => high))]
  }
}

/** The lines of an LRC text: [{start, text}]. */
export function linesOf(lrc) {
  const found = [...lrc.matchAll(/^\[(\d+):(\d\d\.\d\d)\](.*)$/gm)]
  return found.map(([, minutes, seconds, text]) => ({ start: 60 * minutes + Number(seconds), text: text || "♪" }))
}

customElements.define("song-wave", SongWave)

// A player with a drawn waveform for one file of ComfyUI's: a row of a node that has made sound.

import { api } from "../../scripts/api.js";
import { html, svg } from "./elements.js";
import { barsPath, clock, gain, peaks, secondsAt } from "./waveform.js";

export const ROW_HEIGHT = 58;
const COLUMNS = 140;
const DECODE_HZ = 24000; // enough for a picture, half the memory of the music itself
const SKIP_SECONDS = 5; // arrow keys

const PLAY = "M8 5.5v13l10.5-6.5z";
const PAUSE = "M7 5h3.6v14H7zM13.4 5H17v14h-3.6z";
const ACCENT = "#4f8df5";
const BUTTON_CSS =
  "flex:0 0 auto;width:32px;height:32px;padding:0;border-radius:50%;display:grid;place-items:center;cursor:pointer;" +
  "border:1px solid var(--border-color);background:var(--comfy-input-bg);color:var(--input-text);";

let sounding = null; // the one row that plays
let rowNumber = 0;
let decoding = Promise.resolve(); // one file after another: a long song takes much memory while it is decoded

function fileUrl({ filename, subfolder, type }) {
  // A name may be given again once its file was deleted; the stamp keeps the browser from playing the old file.
  const query = new URLSearchParams({
    filename,
    subfolder: subfolder ?? "",
    type: type ?? "output",
    stamp: Date.now(),
  });
  return api.apiURL(`/view?${query}`);
}

async function readPeaks(url, signal) {
  const response = await fetch(url, { signal });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  const bytes = await response.arrayBuffer();
  const decoded = await new OfflineAudioContext(1, 1, DECODE_HZ).decodeAudioData(bytes);
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, i) => decoded.getChannelData(i));
  return { pairs: peaks(channels, COLUMNS), seconds: decoded.duration };
}

/** `label` is what is written beside it: the file's name, if nothing else is given. */
export class Row {
  constructor(file, label = file.filename) {
    this.label = label;
    this.url = fileUrl(file);
    this.stop = new AbortController();
    this.audio = new Audio();
    this.audio.preload = "none";
    this.audio.src = this.url;
    this.build(file);
    this.listen();
    decoding = decoding.then(() => this.drawWave());
  }

  build({ filename }) {
    this.icon = svg("path", { d: PLAY, fill: "currentColor" });
    this.button = html("button", BUTTON_CSS, { type: "button", title: "Play" });
    this.button.append(svg("svg", { viewBox: "0 0 24 24", width: 20, height: 20 }, this.icon));
    this.wave = this.buildWave(this.label);
    this.name = html("span", "overflow:hidden;text-overflow:ellipsis;flex:1", {
      textContent: this.label,
      title: filename,
    });
    this.time = html("span", "font-variant-numeric:tabular-nums");
    this.link = html("a", "color:inherit;text-decoration:none", {
      href: this.url,
      download: filename,
      textContent: "↓",
    });
    this.link.title = `Download ${filename}`;
    const words = html("div", "display:flex;gap:8px;white-space:nowrap;line-height:14px");
    words.append(this.name, this.time, this.link);
    const right = html("div", "flex:1;min-width:0;display:flex;flex-direction:column;gap:2px");
    right.append(this.wave, words);
    this.element = html("div", `display:flex;align-items:center;gap:8px;height:${ROW_HEIGHT}px;flex:0 0 auto`);
    this.element.append(this.button, right);
    this.showTime();
  }

  /** The waveform twice, one over the other: as a whole, and what has been played of it, in colour. */
  buildWave(label) {
    const clip = `acestep-played-${++rowNumber}`;
    const flat = barsPath(Array(COLUMNS).fill([0, 0]));
    this.played = svg("rect", { x: 0, y: -1, width: 0, height: 2 });
    this.quiet = svg("path", { d: flat, fill: "var(--descrip-text)", "fill-opacity": 0.65 });
    this.loud = svg("path", { d: flat, fill: ACCENT, "clip-path": `url(#${clip})` });
    const box = { viewBox: `0 -1 ${COLUMNS} 2`, preserveAspectRatio: "none", width: "100%", height: 34 };
    const spoken = { tabindex: 0, role: "slider", "aria-label": `position in ${label}` };
    const parts = [svg("clipPath", { id: clip }, this.played), this.quiet, this.loud];
    const wave = svg("svg", { ...box, ...spoken }, ...parts);
    wave.style.cssText = "display:block;cursor:pointer;touch-action:none;border-radius:3px;";
    return wave;
  }

  listen() {
    this.button.addEventListener("click", () => this.toggle());
    this.wave.addEventListener("pointerdown", (event) => this.grab(event));
    this.wave.addEventListener("pointermove", (event) => event.buttons & 1 && this.seek(event));
    this.wave.addEventListener("keydown", (event) => this.key(event));
    this.wave.addEventListener("blur", () => (this.wave.style.outline = ""));
    const on = (kinds, then) => kinds.forEach((kind) => this.audio.addEventListener(kind, then));
    on(["timeupdate", "loadedmetadata", "seeked"], () => this.showTime());
    on(["play", "pause", "ended"], () => this.showState());
    this.audio.addEventListener("error", () => this.say("cannot be played here"));
  }

  async drawWave() {
    if (this.stop.signal.aborted) return;
    try {
      const { pairs, seconds } = await readPeaks(this.url, this.stop.signal);
      const path = barsPath(pairs, { scale: gain(pairs) });
      this.quiet.setAttribute("d", path);
      this.loud.setAttribute("d", path);
      this.decoded = seconds;
      this.showTime();
    } catch (error) {
      if (!this.stop.signal.aborted) this.say(`no waveform: ${error.message}`);
    }
  }

  /** The file's own length once it is known; the player's, which may be a guess of the browser's, until then. */
  get seconds() {
    return this.decoded ?? this.audio.duration;
  }

  say(text) {
    this.name.title = `${this.link.download}: ${text}`;
    this.name.textContent = text;
  }

  async toggle() {
    if (!this.audio.paused) return this.audio.pause();
    try {
      await this.audio.play();
    } catch (error) {
      if (error.name !== "AbortError") this.say("cannot be played here");
    }
  }

  grab(event) {
    if (event.button !== 0) return;
    this.wave.style.outline = "none"; // the ring is for those who come by keyboard
    this.wave.setPointerCapture(event.pointerId);
    this.seek(event);
  }

  seek(event) {
    if (!Number.isFinite(this.seconds)) return;
    this.go(secondsAt(event.clientX, this.wave.getBoundingClientRect(), this.seconds));
  }

  key(event) {
    const by = { ArrowLeft: -SKIP_SECONDS, ArrowRight: SKIP_SECONDS }[event.key];
    if (event.key === " ") this.toggle();
    else if (by) this.go(Math.min(this.seconds, Math.max(0, this.audio.currentTime + by)));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  go(seconds) {
    this.audio.currentTime = seconds;
    this.showTime(seconds);
  }

  showState() {
    const plays = !this.audio.paused && !this.audio.ended;
    if (plays && sounding !== this) sounding?.audio.pause();
    if (plays) sounding = this;
    else if (sounding === this) sounding = null;
    this.icon.setAttribute("d", plays ? PAUSE : PLAY);
    this.button.title = plays ? "Pause" : "Play";
    if (plays) this.follow();
  }

  /** Moves the played part on with every frame while it plays. */
  follow() {
    if (sounding !== this) return;
    this.showTime();
    requestAnimationFrame(() => this.follow());
  }

  showTime(at = this.audio.currentTime) {
    const part = this.seconds > 0 ? at / this.seconds : 0;
    this.played.setAttribute("width", (COLUMNS * part).toFixed(2));
    const text = `${clock(at)} / ${clock(this.seconds)}`;
    if (text === this.time.textContent) return;
    this.time.textContent = text;
    this.wave.setAttribute("aria-valuetext", text);
  }

  remove() {
    this.stop.abort();
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.audio.load(); // lets go of the file
    this.element.remove();
  }
}

// A player with a drawn waveform for one file of ComfyUI's: a row of a node that has made sound.
// Keys on the waveform: Space plays, left and right move by seconds, up and down change to the row above or below.

import { api } from "../../scripts/api.js";
import { ACCENT, BUTTON_CSS, html, svg } from "./elements.js";
import { isSounding } from "./sound_group.js";
import { barsPath, clock, gain, peaks, secondsAt } from "./waveform.js";

export const ROW_HEIGHT = 58;
const COLUMNS = 140;
const DECODE_HZ = 24000; // enough for a picture, half the memory of the music itself
const SKIP_SECONDS = 5; // arrow keys

const PLAY = "M8 5.5v13l10.5-6.5z";
const PAUSE = "M7 5h3.6v14H7zM13.4 5H17v14h-3.6z";
const PLAY_CSS =
  `${BUTTON_CSS}flex:0 0 auto;width:32px;height:32px;padding:0;border-radius:50%;` + "display:grid;place-items:center;";

const CUT_CSS = "overflow:hidden;text-overflow:ellipsis;min-width:0;";
const KEEP_CSS = `${BUTTON_CSS}flex:0 0 auto;padding:0 7px;border-radius:8px;`;

let rowNumber = 0;
let decoding = Promise.resolve(); // one file after another: a long song takes much memory while it is decoded

export function fileUrl({ filename, subfolder, type }) {
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

export class Row {
  /**
   * Of a file, in a group. `label` is written below the waveform, the file's name if nothing else is given; `letter`
   * before it, `facts` after it. `keep`: an async function that gives the name of the file that it made; then there is
   * a button for it in the place of the label.
   */
  constructor(file, group, { label = file.filename, letter = "", facts = "", keep = null } = {}) {
    this.group = group;
    this.label = letter ? `${letter} ${label}` : label;
    this.url = fileUrl(file);
    this.stop = new AbortController();
    this.audio = new Audio();
    this.audio.preload = "none";
    this.audio.src = this.url;
    this.build(file, { label, letter, facts, keep });
    this.listen();
    group.add(this);
    decoding = decoding.then(() => this.drawWave());
  }

  build({ filename }, { label, letter, facts, keep }) {
    this.icon = svg("path", { d: PLAY, fill: "currentColor" });
    this.button = html("button", PLAY_CSS, { type: "button", title: "Play" });
    this.button.append(svg("svg", { viewBox: "0 0 24 24", width: 20, height: 20 }, this.icon));
    this.wave = this.buildWave(this.label);
    this.name = html("span", CUT_CSS + "flex:1", { textContent: label, title: filename });
    this.facts = html("span", CUT_CSS + "flex:0 1 auto", { textContent: facts, title: facts });
    this.time = html("span", "font-variant-numeric:tabular-nums");
    this.link = html("a", "color:inherit;text-decoration:none", {
      href: this.url,
      download: filename,
      textContent: "↓",
    });
    this.link.title = this.link.ariaLabel = `Download ${filename}`;
    const words = html(
      "div",
      "display:flex;align-items:center;gap:8px;white-space:nowrap;line-height:14px;height:16px",
    );
    if (letter) words.append(html("b", "color:var(--input-text)", { textContent: letter }));
    words.append(...(keep ? [this.buildKeep(keep)] : []), this.name, this.facts, this.time, this.link);
    const right = html("div", "flex:1;min-width:0;display:flex;flex-direction:column;gap:2px");
    right.append(this.wave, words);
    this.element = html("div", `display:flex;align-items:center;gap:8px;height:${ROW_HEIGHT}px;flex:0 0 auto`);
    this.element.append(this.button, right);
    this.showTime();
  }

  /** A button in the place of a preview's name, which says nothing; then the name of the file that was kept. */
  buildKeep(keep) {
    const button = html("button", KEEP_CSS, { type: "button", textContent: "keep this one" });
    this.name.textContent = "";
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const kept = await keep();
        button.remove();
        this.name.title = kept;
        this.name.textContent = `kept: ${kept.split("/").at(-1)}`;
      } catch (error) {
        button.disabled = false;
        this.say(error.message);
      }
    });
    return button;
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

  toggle() {
    if (this.audio.paused) this.play();
    else this.audio.pause();
  }

  async play() {
    try {
      this.group.takeOver(this);
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
    const rows = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (event.key === " ") this.toggle();
    else if (by) this.go(Math.min(this.seconds, Math.max(0, this.audio.currentTime + by)));
    else if (rows) this.changeTo(this.group.neighbour(this, rows));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  changeTo(row) {
    if (!row) return;
    row.wave.focus();
    if (!this.audio.paused) row.play();
  }

  go(seconds) {
    this.audio.currentTime = seconds;
    this.showTime(seconds);
  }

  showState() {
    const plays = !this.audio.paused && !this.audio.ended;
    if (plays) this.group.playing(this);
    else this.group.stopped(this);
    this.icon.setAttribute("d", plays ? PAUSE : PLAY);
    this.button.title = plays ? "Pause" : "Play";
    if (plays) this.follow();
  }

  /** Moves the played part on with every frame while it plays. */
  follow() {
    if (!isSounding(this)) return;
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
    this.group.remove(this);
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.audio.load(); // lets go of the file
    this.element.remove();
  }
}

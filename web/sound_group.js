// Rows that are compared by ear: one plays at a time, another one goes on where it was, and all have one volume and
// loop or do not.

import { ACCENT, BUTTON_CSS, html, legible, svg } from "./elements.js";
import { sameLength, switchedTo } from "./waveform.js";

export const TOOLS_HEIGHT = 24;
const VOLUME_KEY = "acestep-cascade.volume";
const LOOP =
  "M17 2.5 20.5 6 17 9.5V7H7a3 3 0 0 0-3 3v2H2v-2a5 5 0 0 1 5-5h10z" +
  "M7 21.5 3.5 18 7 14.5V17h10a3 3 0 0 0 3-3v-2h2v2a5 5 0 0 1-5 5H7z";
const LOUDSPEAKER = "M4 9v6h4l5 4.5v-15L8 9zm11.5-.8v7.6a4.5 4.5 0 0 0 0-7.6z";

const TOOLS_CSS = `display:flex;align-items:center;gap:8px;height:${TOOLS_HEIGHT}px;flex:0 0 auto`;
const LOOP_CSS = `${BUTTON_CSS}display:flex;align-items:center;gap:4px;padding:1px 7px;border-radius:9px;`;
const VOLUME_CSS = `width:72px;height:14px;margin:0;cursor:pointer;accent-color:${ACCENT}`;

let sounding = null; // the one row of the page that plays

const icon = (d) =>
  svg("svg", { viewBox: "0 0 24 24", width: 14, height: 14 }, svg("path", { d, fill: "currentColor" }));

function savedVolume() {
  const saved = Number(localStorage.getItem(VOLUME_KEY) ?? 1);
  return saved >= 0 && saved <= 1 ? saved : 1;
}

export class SoundGroup {
  rows = [];
  loop = false;
  volume = savedVolume();
  last = null; // the row that was played last

  constructor() {
    this.tools = html("div", TOOLS_CSS);
    this.tools.append(this.buildLoop(), html("span", "flex:1"), icon(LOUDSPEAKER), this.buildVolume());
  }

  buildLoop() {
    const button = html("button", LOOP_CSS, { type: "button", title: "Play from the beginning again at the end" });
    button.append(icon(LOOP), "loop");
    button.ariaPressed = "false";
    button.addEventListener("click", () => {
      this.loop = !this.loop;
      button.ariaPressed = String(this.loop);
      button.style.color = this.loop ? legible(ACCENT) : "var(--input-text)";
      this.tune();
    });
    return button;
  }

  buildVolume() {
    const range = { type: "range", min: "0", max: "1", step: "0.05", title: "Volume", ariaLabel: "volume" };
    this.slider = html("input", VOLUME_CSS, { ...range, value: String(this.volume) });
    this.slider.addEventListener("input", () => {
      this.volume = Number(this.slider.value);
      localStorage.setItem(VOLUME_KEY, this.slider.value);
      this.tune();
    });
    for (const kind of ["pointerdown", "keydown"])
      this.slider.addEventListener(kind, (event) => event.stopPropagation());
    return this.slider;
  }

  add(row) {
    this.rows.push(row);
    this.tune();
  }

  remove(row) {
    this.rows = this.rows.filter((one) => one !== row);
    if (this.last === row) this.last = null;
    this.stopped(row);
  }

  tune() {
    for (const { audio } of this.rows) Object.assign(audio, { loop: this.loop, volume: this.volume });
  }

  /** Called before a row plays: it goes on where the row was that it is compared with. */
  takeOver(row) {
    const before = this.comparedWith(row);
    if (before) row.go(switchedTo(before.audio.currentTime, row.seconds));
    this.last = row;
  }

  /** The row of this group that was played last; or the one of another node that plays now, if it is as long. */
  comparedWith(row) {
    if (sounding && sounding !== row && sounding.group !== this)
      return sameLength(sounding.seconds, row.seconds) && sounding;
    return this.last !== row && this.last;
  }

  /** The row above or below; the last and the first have none. */
  neighbour(row, by) {
    return this.rows[this.rows.indexOf(row) + by];
  }

  playing(row) {
    if (sounding !== row) sounding?.audio.pause();
    sounding = row;
  }

  stopped(row) {
    if (sounding === row) sounding = null;
  }
}

export const isSounding = (row) => sounding === row;

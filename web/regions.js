// What the widgets do with regions of a sound: their arithmetic, which the page shares, the part of the sound that is seen,
// texts of several clips, undo. Nothing of ComfyUI. Times are seconds.

// The address at which the pack serves the folder acestep_core/server/page/shared; this file is at /extensions/PACK/.
export * from "../../acestep-cascade/shared/region_times.js";

export const LEAST_SPAN = 1; // of the sound that is seen

/** 75.5 -> "1:15.5", with so many decimals. */
export function timeText(value, decimals = 0) {
  const rounded = Number(Math.max(0, value).toFixed(decimals));
  const minutes = Math.floor(rounded / 60);
  return `${minutes}:${(rounded - 60 * minutes).toFixed(decimals).padStart(decimals ? decimals + 3 : 2, "0")}`;
}

/** "a.wav: 10-20 | b.wav: 3-5" -> a Map from names of clips to the text of their regions. */
export function clipRegions(text) {
  const parts = text.split(/[|\n]/).map((part) => /^\s*(.+?):\s+(.*?)\s*$/.exec(part));
  return new Map(parts.filter(Boolean).map(([, name, regions]) => [name, regions]));
}

/** The same text with other regions of one clip; none of them leave it out. */
export function withClipRegions(text, name, regions) {
  const all = clipRegions(text);
  if (regions) all.set(name, regions);
  else all.delete(name);
  return [...all].map((pair) => pair.join(": ")).join(" | ");
}

/** "bars 3-4", of a region that is whole bars, else its length in bars or beats; "" without beats. */
export function barsText({ start, end }, beats) {
  if (!beats) return "";
  const bar = beats.beat * beats.in_bar;
  const [first, last] = [(start - beats.first) / bar, (end - beats.first) / bar];
  const isWhole = (value) => Math.abs(value - Math.round(value)) < 0.02;
  if (isWhole(first) && isWhole(last) && Math.round(first) >= 0) {
    const [from, to] = [Math.round(first) + 1, Math.round(last)];
    return from >= to ? `bar ${from}` : `bars ${from}–${to}`;
  }
  return `${Number(((end - start) / beats.beat).toFixed(1))} beats`;
}

// ---- the part that is seen: {start, span} ----

/** The view `times` as wide around a time, which stays where it is. */
export function zoomed({ start, span }, times, at, duration) {
  const wide = Math.min(duration, Math.max(Math.min(LEAST_SPAN, duration), span * times));
  const share = span > 0 ? (at - start) / span : 0.5;
  return scrolledTo({ start, span: wide }, at - share * wide, duration);
}

export function scrolledTo({ span }, start, duration) {
  return { start: Math.min(Math.max(0, start), Math.max(0, duration - span)), span };
}

/** The view, moved as little as needed so that a time is in it. */
export function showing(view, at, duration) {
  if (at >= view.start && at <= view.start + view.span) return view;
  return scrolledTo(view, at < view.start ? at - 0.1 * view.span : at - 0.9 * view.span, duration);
}

const NICE = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200];

/** Times for a ruler, at least `least` seconds apart: [{at, text}]. */
export function rulerMarks({ start, span }, least) {
  const step = NICE.find((one) => one >= least) ?? NICE.at(-1);
  const decimals = step < 0.1 ? 2 : step < 1 ? 1 : 0;
  const first = Math.ceil(start / step - 1e-6);
  const count = Math.max(0, Math.floor((start + span) / step + 1e-6) - first + 1);
  return Array.from({ length: count }, (_, index) => {
    const at = (first + index) * step;
    return { at, text: timeText(at, decimals) };
  });
}

// ---- undo ----

/** Texts that can be gone back to. */
export class History {
  #texts;
  #at = 0;

  constructor(text) {
    this.#texts = [text];
  }

  get text() {
    return this.#texts[this.#at];
  }

  get canUndo() {
    return this.#at > 0;
  }

  get canRedo() {
    return this.#at < this.#texts.length - 1;
  }

  add(text) {
    if (text === this.text) return;
    this.#texts = [...this.#texts.slice(0, this.#at + 1), text].slice(-200);
    this.#at = this.#texts.length - 1;
  }

  /** Goes `by` texts, -1 or 1; the text that is there. */
  go(by) {
    this.#at = Math.min(this.#texts.length - 1, Math.max(0, this.#at + by));
    return this.text;
  }
}

// A stage's share of the flow time: t = 1 is noise, drawn at the left, t = 0 is music, drawn at the right. Numbers and
// words only, nothing of ComfyUI and nothing of the page.

export const SAME_TIME = 1e-4; // two times nearer than this are one, as in the library's schedule

/** t -> per cent from the left edge. */
export function percent(t) {
  return (1 - Math.min(1, Math.max(0, t))) * 100;
}

/** A share from the time `from` down to `to` -> where it is drawn, in per cent. */
export function span(from, to) {
  const x = percent(from);
  return { x, width: Math.max(0, percent(to) - x) };
}

/** The times between two steps, in per cent; none if they would run together. */
export function ticks(times, nearest = 0.8) {
  const { width } = span(times[0], times[times.length - 1]);
  return width / (times.length - 1) < nearest ? [] : times.slice(1, -1).map(percent);
}

/** The gap or overlap between the end of one stage and the start of the next; null if none, or if one is not known. */
export function mismatch(given, taken) {
  if (given == null || taken == null || Math.abs(given - taken) <= SAME_TIME) return null;
  return { kind: given > taken ? "gap" : "overlap", from: Math.max(given, taken), to: Math.min(given, taken) };
}

/** Gaps and overlaps of a share with the latent that comes in, and with each place to which the latent goes. */
export function mismatches(times, comesAt, goneOnAt = []) {
  const all = [mismatch(comesAt, times[0]), ...goneOnAt.map((start) => mismatch(times[times.length - 1], start))];
  return all.filter((one) => one !== null);
}

/** 0.8333 -> "0.83", 0.5 -> "0.5", 1 -> "1". */
export function timeText(t, digits = 2) {
  return String(Number(t.toFixed(digits)));
}

/** Two digits, or four where two would make both ends look alike. */
export function rangeText(from, to, between = "–") {
  const digits = timeText(from) === timeText(to) ? 4 : 2;
  return `${timeText(from, digits)}${between}${timeText(to, digits)}`;
}

export function mismatchText({ kind, from, to }) {
  return `${kind} ${rangeText(from, to)}`;
}

/** "1 → 0.83 · 3 steps" */
export function shareText(times) {
  const steps = times.length - 1;
  return `${rangeText(times[0], times[steps], " → ")} · ${steps} ${steps === 1 ? "step" : "steps"}`;
}

/** Which step runs when `value` of `max` is done: its number from 1, how many there are, and its two times. */
export function currentStep(times, value, max) {
  const steps = times.length - 1;
  const done = max > 0 ? Math.floor((value / max) * steps + 1e-6) : 0;
  const index = Math.min(steps - 1, Math.max(0, done));
  return { number: index + 1, of: steps, from: times[index], to: times[index + 1] };
}

const LEAST_SHARE = 0.001; // a stage that is dragged keeps so much of the flow time
const DIGITS = 4; // of the widgets

/**
 * [start, end] after the handle ("start" or "end") of [start, end] was moved to `t`. It stops at the other handle,
 * and takes a time out of `meets` that is nearer than `near`.
 */
export function dragged([start, end], handle, t, meets = [], near = 0.01) {
  const [low, high] = handle === "start" ? [end + LEAST_SHARE, 1] : [0, start - LEAST_SHARE];
  const within = meets.filter((time) => time >= low && time <= high && Math.abs(time - t) < near);
  const [met] = within.sort((one, other) => Math.abs(one - t) - Math.abs(other - t));
  const moved = Number(Math.min(high, Math.max(low, met ?? t)).toFixed(DIGITS));
  return handle === "start" ? [moved, end] : [start, moved];
}

/** The times of a share's steps, laid between another start and end. */
export function rescaled(times, [start, end]) {
  const [first, last] = [times[0], times.at(-1)];
  const scale = first > last ? (start - end) / (first - last) : 0;
  return times.map((t, step) => (step ? start - (first - t) * scale : start));
}

/** The query of the server's route; what is null or undefined is left out. */
export function timesQuery(settings) {
  const known = Object.entries(settings).filter(([, value]) => value !== null && value !== undefined);
  return new URLSearchParams(known.map(([key, value]) => [key, String(value)])).toString();
}

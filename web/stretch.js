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

/** What lies between the times at which a latent is given and taken up; null if nothing, or if one is not known. */
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

/** The query of the server's stretch route; what is null or undefined is left out. */
export function stretchQuery(asked) {
  const known = Object.entries(asked).filter(([, value]) => value !== null && value !== undefined);
  return new URLSearchParams(known.map(([key, value]) => [key, String(value)])).toString();
}

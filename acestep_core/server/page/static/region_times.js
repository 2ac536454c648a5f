// The arithmetic of regions of a sound: their text, edits that keep them apart, the beats that they snap to. Times are
// seconds; beats are {beat, first, in_bar}, or nothing where they are not known.

const LEAST_SECONDS = 0.1
const STEP_SECONDS = 0.5
const TIME = String.raw`(?:(\d{1,3}):)?(\d{1,5}(?:\.\d{1,6})?)`
const SECONDS = new RegExp(String.raw`^${TIME}\s*-\s*(?:${TIME}|end)?\s*(?:s|seconds)?$`)
const BARS = /^bars?\s*(\d{1,5})(?:\s*-\s*(\d{1,5}))?$/i

/** A text -> {regions: [{start, end, text}], others: texts that are none, or not yet}. */
export function readRegions(text, duration, beats) {
  const parts = text.split(/[,;\n]/).map((part) => part.trim())
  const read = parts.filter(Boolean).map((part) => ({ text: part, ...readRegion(part, duration, beats) }))
  const isRegion = ({ start, end }) => end - start >= LEAST_SECONDS && start < duration
  return {
    regions: read.filter(isRegion).sort((a, b) => a.start - b.start),
    others: read.filter((one) => !isRegion(one)).map((one) => one.text),
  }
}

function readRegion(text, duration, beats) {
  const bars = BARS.exec(text)
  if (bars) return ofBars(Number(bars[1]), Number(bars[2] ?? bars[1]), beats)
  const found = SECONDS.exec(text)
  if (!found) return {}
  const seconds = (minutes, rest) => 60 * Number(minutes ?? 0) + Number(rest)
  return { start: seconds(found[1], found[2]), end: found[4] === undefined ? duration : seconds(found[3], found[4]) }
}

function ofBars(first, last, beats) {
  if (!beats || first < 1) return {}
  const bar = beats.beat * beats.in_bar
  return { start: Math.max(0, beats.first + (first - 1) * bar), end: beats.first + last * bar }
}

/** The text of regions; one that was not changed keeps the words it came from. */
export function writeRegions({ regions, others }) {
  const short = (seconds) => String(Number(seconds.toFixed(3)))
  return [...regions.map(({ start, end, text }) => text ?? `${short(start)}-${short(end)}`), ...others].join(", ")
}

// ---- edits; each gives new regions and leaves the given ones ----

/** With a new region, as far as there is room around its start. */
export function added(regions, start, end, duration) {
  const before = Math.max(0, ...regions.filter((one) => one.start <= start).map((one) => one.end))
  const behind = Math.min(duration, ...regions.filter((one) => one.start > start).map((one) => one.start))
  const made = { start: Math.max(start, before), end: Math.min(end, behind) }
  if (made.end - made.start < LEAST_SECONDS) return regions
  return [...regions, made].sort((a, b) => a.start - b.start)
}

/** With the region at an index put elsewhere, between its neighbours and the ends of the sound. */
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

// ---- beats ----

export const SNAPS = ["off", "beats", "bars"]
const unit = (snap, beats) => beats && { beats: beats.beat, bars: beats.beat * beats.in_bar }[snap]

/** A time -> the nearest beat or bar, or end of the sound if that is nearer; "off" leaves it. */
export function snapped(at, snap, beats, duration) {
  const step = unit(snap, beats)
  if (!step) return at
  const grid = beats.first + Math.round((at - beats.first) / step) * step
  const places = [grid, 0, duration].filter((place) => place >= 0 && place <= duration)
  return places.reduce((best, place) => (Math.abs(place - at) < Math.abs(best - at) ? place : best))
}

/** How far an arrow key goes. */
export const stepOf = (snap, beats) => unit(snap, beats) || STEP_SECONDS

/** Lines at least `least` seconds apart: beats, or bars, or every 2nd, 4th ... bar: [{at, bar}], 0 between bars. */
export function gridLines(beats, duration, least) {
  const [lines, bar] = [[], beats.beat * beats.in_bar]
  let step = beats.beat < least ? bar : beats.beat
  while (step < least) step *= 2
  for (let number = Math.max(0, Math.ceil(-beats.first / step)); beats.first + number * step <= duration; number++) {
    const bars = (number * step) / bar
    lines.push({ at: beats.first + number * step, bar: Math.abs(bars - Math.round(bars)) < 1e-6 ? Math.round(bars) + 1 : 0 })
  }
  return lines
}

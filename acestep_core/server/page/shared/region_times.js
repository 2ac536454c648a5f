// The arithmetic of regions of a sound, for the page and for the widgets in ComfyUI, which asks the pack for this file:
// their text, edits that keep them apart, beats to snap to. Times are seconds. It imports nothing.

export const LEAST_SECONDS = 0.1 // of a region, as the library has it
const DECIMALS = 3

const TIME = String.raw`(?:(\d{1,3}):)?(\d{1,5}(?:\.\d{1,6})?)`
const SECONDS = new RegExp(String.raw`^${TIME}\s*-\s*(?:${TIME}|end)?\s*(?:s|seconds)?$`)
const BARS = /^bars?\s*(\d{1,5})(?:\s*-\s*(\d{1,5}))?$/i

// ---- text ----

/**
 * "10-20, bars 8-12" -> regions {start, end, text}, by time, and the texts that are none or not known yet: {text, why}.
 * `beats` {beat, first, in_bar} or null; `duration` is where "end" is, undefined if the sound is not known yet.
 */
export function readRegions(text, { beats = null, duration } = {}) {
  const parts = text.split(/[,;\n]/).map((part) => part.trim())
  const read = parts.filter(Boolean).map((part) => ({ text: part, ...readRegion(part, beats, duration) }))
  const regions = read.filter(({ why }) => !why).sort((a, b) => a.start - b.start)
  return { regions, others: read.filter(({ why }) => why) }
}

function readRegion(text, beats, duration) {
  const bars = BARS.exec(text)
  if (bars) return ofBars(Number(bars[1]), Number(bars[2] ?? bars[1]), beats)
  const found = SECONDS.exec(text)
  if (!found) return { why: "is no region; write 10-20, 1:05-end or bars 8-12" }
  const start = seconds(found[1], found[2])
  const end = found[4] === undefined ? duration : seconds(found[3], found[4])
  if (end === undefined) return { why: "is drawn when the sound is known" }
  if (start >= (duration ?? Infinity)) return { why: "begins behind the end of the sound" }
  if (found[4] !== undefined && end - start < LEAST_SECONDS) return { why: "ends before it begins, or at once" }
  return { start, end }
}

function ofBars(first, last, beats) {
  if (first < 1 || last < first) return { why: "counts bars from 1 on, the first one first" }
  if (!beats) return { why: "is drawn when the tempo is known" }
  const bar = beats.beat * beats.in_bar
  return { start: Math.max(0, beats.first + (first - 1) * bar), end: beats.first + last * bar }
}

const seconds = (minutes, rest) => 60 * Number(minutes ?? 0) + Number(rest)

/** Regions and texts that are none -> the widget's text. A region that was not changed keeps the text it came from. */
export function writeRegions(regions, others = []) {
  return [
    ...regions.map((one) => one.text ?? `${number(one.start)}-${number(one.end)}`),
    ...others.map(({ text }) => text),
  ].join(", ")
}

export const number = (value) => String(Number(value.toFixed(DECIMALS)))

/** What a user types as one time: "75.5" or "1:15.5" -> seconds; NaN if it is none. */
export function readTime(text) {
  const found = new RegExp(`^${TIME}$`).exec(text.trim())
  return found ? seconds(found[1], found[2]) : NaN
}

// ---- edits; each gives new regions and leaves the given ones ----

/** The free room around a time: the end of the region before it, the start of the one behind it. */
export function roomAround(regions, at, duration) {
  return [
    Math.max(0, ...regions.filter(({ end }) => end <= at + 1e-9).map(({ end }) => end)),
    Math.min(duration, ...regions.filter(({ start }) => start >= at - 1e-9).map(({ start }) => start)),
  ]
}

/** With a region between two times, which may come in any order, cut to the room around the first one; its index. */
export function added(regions, from, to, duration) {
  const [low, high] = roomAround(regions, from, duration)
  const [start, end] = [Math.max(low, Math.min(from, to)), Math.min(high, Math.max(from, to))]
  if (regions.some((one) => one.start < from && from < one.end) || end - start < LEAST_SECONDS)
    return { regions, index: -1 }
  const made = { start, end }
  const all = [...regions, made].sort((a, b) => a.start - b.start)
  return { regions: all, index: all.indexOf(made) }
}

/** With a region moved so that it starts at a time, as far as its neighbours and the ends of the sound let it. */
export function moved(regions, index, start, duration) {
  const { start: before, end } = regions[index]
  const length = end - before
  const [low, high] = neighbours(regions, index, duration)
  const to = Math.max(low, Math.min(start, high - length))
  return replaced(regions, index, { start: to, end: to + length })
}

/** With an edge, "start" or "end", of a region put at a time, as far as that is possible. */
export function resized(regions, index, edge, to, duration) {
  const { start, end } = regions[index]
  const [low, high] = neighbours(regions, index, duration)
  if (edge === "start")
    return replaced(regions, index, { start: Math.max(low, Math.min(to, end - LEAST_SECONDS)), end })
  return replaced(regions, index, { start, end: Math.min(high, Math.max(to, start + LEAST_SECONDS)) })
}

export const removed = (regions, index) => regions.filter((_, at) => at !== index)

/** The index of a region after others were read: of the one that starts there, else, of as many, of the same place. */
export function sameRegion(before, index, now) {
  if (index < 0) return -1
  const found = now.findIndex(({ start }) => Math.abs(start - before[index].start) < 1e-3)
  return found < 0 && before.length === now.length ? index : found
}

/** Where a region may lie: between its neighbours; one that overlaps them already is not pushed away. */
function neighbours(regions, index, duration) {
  const { start, end } = regions[index]
  return [Math.min(start, regions[index - 1]?.end ?? 0), Math.max(end, regions[index + 1]?.start ?? duration)]
}

function replaced(regions, index, { start, end }) {
  const old = regions[index]
  if (start === old.start && end === old.end) return regions
  return regions.map((one, at) => (at === index ? { start, end } : one))
}

// ---- beats ----

const STEPS = { beats: (beats) => beats.beat, bars: (beats) => beats.beat * beats.in_bar }

/** A time -> the nearest beat or bar, or the nearest end of the sound if that is nearer; `snap` "off" leaves it. */
export function snapped(at, snap, beats, duration) {
  const step = beats && STEPS[snap]?.(beats)
  if (!step) return at
  const grid = beats.first + Math.round((at - beats.first) / step) * step
  const places = [grid, 0, duration].filter((place) => place >= 0 && place <= duration)
  return places.reduce((best, place) => (Math.abs(place - at) < Math.abs(best - at) ? place : best), places[0])
}

/** How far an arrow key goes. */
export const stepOf = (snap, beats) => (beats && STEPS[snap]?.(beats)) || 0.1 // of a second

/**
 * Lines of the grid between two times that lie at least `least` seconds apart: beats, or bars, or every 2nd, 4th, ...
 * bar. [{at, bar}], `bar` is the number of the bar that begins there, else 0.
 */
export function gridLines(beats, start, end, least) {
  if (!beats) return []
  const bar = beats.beat * beats.in_bar
  let [step, beatsApart] = [beats.beat, 1]
  if (step < least) [step, beatsApart] = [bar, beats.in_bar]
  while (step < least) [step, beatsApart] = [2 * step, 2 * beatsApart]
  const first = Math.max(0, Math.ceil((start - beats.first) / step - 1e-6))
  const count = Math.max(0, Math.floor((end - beats.first) / step + 1e-6) - first + 1)
  return Array.from({ length: count }, (_, index) => {
    const beatsIn = (first + index) * beatsApart
    const isBar = beatsIn % beats.in_bar === 0
    return { at: beats.first + (first + index) * step, bar: isBar ? beatsIn / beats.in_bar + 1 : 0 }
  })
}

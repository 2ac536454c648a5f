import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"

import * as times from "../../acestep_core/server/page/static/region_times.js"
import * as regions from "../../web/regions.js"

const BEATS = { beat: 0.5, first: 0.25, in_bar: 4 } // 120 bpm in 4/4
const shape = ({ start, end }) => [start, end]

test("the page reads the text of regions as the library and the node do", () => {
  const cases = JSON.parse(readFileSync(new URL("regions.json", import.meta.url)))
  for (const { text, beats, duration, regions: expected } of cases) {
    const read = times.readRegions(text, duration ?? Infinity, beats)
    if (expected) assert.deepEqual([read.regions.map(shape), read.others], [expected, []], text)
    else assert.equal(read.others.length, 1, text)
  }
})

test("a region that was not changed keeps its words", () => {
  const read = times.readRegions("1:05-end, what, 10-20, bars 2", 70, BEATS)
  assert.equal(times.writeRegions(read), "bars 2, 10-20, 1:05-end, what")
  const moved = times.moved(read.regions, 1, 12.5, 70)
  assert.equal(times.writeRegions({ ...read, regions: moved }), "bars 2, 12.5-22.5, 1:05-end, what")
})

test("edges snap, and lines of beats lie, as in the node", () => {
  for (const snap of times.SNAPS)
    for (const at of [0, 0.1, 0.4, 1.1, 1.3, 8.99, 9.9])
      assert.equal(times.snapped(at, snap, BEATS, 10), regions.snapped(at, snap, BEATS, 10), `${snap} ${at}`)
  assert.equal(times.snapped(1.1, "beats", undefined, 10), 1.1)
  assert.deepEqual([times.stepOf("bars", BEATS), times.stepOf("beats", undefined)], [2, 0.5])
  for (const least of [0.1, 1, 3])
    assert.deepEqual(times.gridLines(BEATS, 10, least), regions.gridLines(BEATS, 0, 10, least), `${least}`)
})

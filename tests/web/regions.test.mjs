import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { regions } from "./region_modules.mjs";

const BEATS = { beat: 0.5, first: 0.25, in_bar: 4 }; // 120 bpm in 4/4
const shape = ({ start, end }) => [start, end];
const [A, B] = [
  { start: 10, end: 20 },
  { start: 30, end: 40 },
];

test("the text of regions is read as the library reads it", () => {
  const cases = JSON.parse(readFileSync(new URL("regions.json", import.meta.url)));
  for (const { text, beats, duration, regions: expected } of cases) {
    const read = regions.readRegions(text, { beats, duration });
    if (expected) assert.deepEqual([read.regions.map(shape), read.others], [expected, []], text);
    else assert.equal(read.others.length, 1, text);
  }
});

test("a text keeps the words of regions that were not changed, and what is no region", () => {
  const { regions: read, others } = regions.readRegions("1:05-end, what, 10-20", { duration: 70 });
  assert.equal(regions.writeRegions(read, others), "10-20, 1:05-end, what");
  assert.equal(regions.writeRegions(regions.moved(read, 0, 12.5, 70), others), "12.5-22.5, 1:05-end, what");
});

test("regions of several clips in one text", () => {
  const text = "a b.wav: 10-20, 1:05-end | sub/c.wav: 3-5";
  assert.deepEqual(
    [...regions.clipRegions(text)],
    [
      ["a b.wav", "10-20, 1:05-end"],
      ["sub/c.wav", "3-5"],
    ],
  );
  assert.equal(regions.withClipRegions(text, "sub/c.wav", "4-5"), "a b.wav: 10-20, 1:05-end | sub/c.wav: 4-5");
  assert.equal(regions.withClipRegions(text, "a b.wav", ""), "sub/c.wav: 3-5");
  assert.equal(regions.withClipRegions("", "d.wav", "1-2"), "d.wav: 1-2");
});

test("bars are drawn once the tempo is known, and lost by nobody until then", () => {
  const { regions: read, others } = regions.readRegions("bars 2-3", { duration: 60 });
  assert.deepEqual([read, regions.writeRegions(read, others)], [[], "bars 2-3"]);
  assert.deepEqual(regions.readRegions("bars 2-3", { beats: BEATS, duration: 60 }).regions.map(shape), [[2.25, 6.25]]);
});

test("times are read and written", () => {
  assert.deepEqual(["75.5", "1:15.5", " 3 ", "-3", "x", ""].map(regions.readTime), [75.5, 75.5, 3, NaN, NaN, NaN]);
  assert.deepEqual(
    [regions.timeText(75.46), regions.timeText(59.96, 1), regions.timeText(5, 2)],
    ["1:15", "1:00.0", "0:05.00"],
  );
  assert.deepEqual([0.1 + 0.2, 10, 1 / 3].map(regions.number), ["0.3", "10", "0.333"]);
});

test("a drawn region stays in the room where it began", () => {
  const drawn = (from, to) => regions.added([A, B], from, to, 60).regions.map(shape);
  assert.deepEqual(drawn(22, 50), [
    [10, 20],
    [22, 30],
    [30, 40],
  ]);
  assert.deepEqual(drawn(28, 5), [
    [10, 20],
    [20, 28],
    [30, 40],
  ]);
  assert.deepEqual(drawn(50, 99), [
    [10, 20],
    [30, 40],
    [50, 60],
  ]);
  assert.equal(regions.added([A, B], 50, 55, 60).index, 2);
  assert.equal(regions.added([A, B], 22, 22.05, 60).index, -1, "shorter than a region may be");
  assert.equal(regions.added([A, B], 15, 50, 60).index, -1, "inside another one");
});

test("a region moves between its neighbours and keeps its length", () => {
  const to = (start) => shape(regions.moved([A, B], 0, start, 60)[0]);
  assert.deepEqual(
    [to(-5), to(3), to(25)],
    [
      [0, 10],
      [3, 13],
      [20, 30],
    ],
  );
  assert.deepEqual(shape(regions.moved([A, B], 1, 99, 60)[1]), [50, 60]);
});

test("an edge stays between its neighbours and behind the other edge", () => {
  const edge = (name, to) => shape(regions.resized([A, B], 1, name, to, 60)[1]);
  assert.deepEqual(
    [edge("start", 5), edge("start", 33), edge("start", 50)],
    [
      [20, 40],
      [33, 40],
      [39.9, 40],
    ],
  );
  assert.deepEqual(
    [edge("end", 99), edge("end", 31), edge("end", 0)],
    [
      [30, 60],
      [30, 31],
      [30, 30.1],
    ],
  );
});

test("regions that overlap already can be moved", () => {
  const both = [
    { start: 10, end: 20 },
    { start: 15, end: 25 },
  ];
  assert.deepEqual(regions.moved(both, 1, 30, 60).map(shape), [
    [10, 20],
    [30, 40],
  ]);
  assert.deepEqual(regions.moved(both, 1, 3, 60).map(shape), [
    [10, 20],
    [15, 25],
  ]);
});

test("the selected region stays so when it moved, or others went", () => {
  const later = [A, { start: 31, end: 40 }];
  assert.deepEqual([regions.sameRegion([A, B], 1, later), regions.sameRegion([A, B], 1, [B])], [1, 0]);
  assert.deepEqual([regions.sameRegion([A, B], 0, [B]), regions.sameRegion([A, B], -1, [B])], [-1, -1]);
});

test("edits leave the regions that they are given", () => {
  const before = JSON.stringify([A, B]);
  regions.moved([A, B], 0, 3, 60);
  regions.resized([A, B], 0, "end", 12, 60);
  assert.deepEqual(regions.removed([A, B], 0), [B]);
  assert.equal(JSON.stringify([A, B]), before);
});

test("times snap to beats, to bars, and to the ends of the sound", () => {
  const snap = (at, how) => regions.snapped(at, how, BEATS, 60);
  assert.deepEqual(
    [snap(1.1, "beats"), snap(1.1, "bars"), snap(1.7, "bars"), snap(1.1, "off")],
    [1.25, 0.25, 2.25, 1.1],
  );
  assert.deepEqual([snap(0.1, "bars"), snap(59.9, "bars")], [0, 60]);
  assert.equal(regions.snapped(1.1, "beats", null, 60), 1.1);
  assert.deepEqual(
    [regions.stepOf("beats", BEATS), regions.stepOf("bars", BEATS), regions.stepOf("off", BEATS)],
    [0.5, 2, 0.1],
  );
});

test("the grid is as fine as there is room for", () => {
  const lines = (least) => regions.gridLines(BEATS, 0, 8, least).map(({ at, bar }) => (bar ? `${at}=${bar}` : at));
  assert.deepEqual(lines(0.1).slice(0, 6), ["0.25=1", 0.75, 1.25, 1.75, "2.25=2", 2.75]);
  assert.deepEqual(lines(1), ["0.25=1", "2.25=2", "4.25=3", "6.25=4"]);
  assert.deepEqual(lines(3), ["0.25=1", "4.25=3"]);
  assert.deepEqual(regions.gridLines(null, 0, 8, 1), []);
});

test("a region says which bars it is, or how many beats long", () => {
  assert.equal(regions.barsText({ start: 2.25, end: 6.25 }, BEATS), "bars 2–3");
  assert.equal(regions.barsText({ start: 2.25, end: 4.25 }, BEATS), "bar 2");
  assert.equal(regions.barsText({ start: 2.5, end: 4 }, BEATS), "3 beats");
  assert.equal(regions.barsText({ start: 2.5, end: 4 }, null), "");
});

test("zoom keeps the time under the pointer, and stays in the sound", () => {
  const view = { start: 0, span: 60 };
  assert.deepEqual(regions.zoomed(view, 0.5, 30, 60), { start: 15, span: 30 });
  assert.deepEqual(regions.zoomed(view, 0.5, 0, 60), { start: 0, span: 30 });
  assert.deepEqual(regions.zoomed({ start: 40, span: 20 }, 9, 50, 60), view);
  assert.equal(regions.zoomed(view, 1e-9, 30, 60).span, regions.LEAST_SPAN);
  assert.deepEqual(regions.zoomed({ start: 0, span: 0.5 }, 0.5, 0.2, 0.5), { start: 0, span: 0.5 }, "a short sound");
});

test("the view follows what it has to show", () => {
  const view = { start: 10, span: 10 };
  assert.equal(regions.showing(view, 15, 60), view);
  assert.deepEqual(regions.showing(view, 25, 60), { start: 16, span: 10 });
  assert.deepEqual(regions.showing(view, 5, 60), { start: 4, span: 10 });
  assert.deepEqual(regions.scrolledTo(view, 99, 60), { start: 50, span: 10 });
});

test("the ruler has round times, none too near another", () => {
  const marks = (span, least) => regions.rulerMarks({ start: 0, span }, least).map(({ text }) => text);
  assert.deepEqual(marks(120, 25), ["0:00", "0:30", "1:00", "1:30", "2:00"]);
  assert.deepEqual(marks(1, 0.3), ["0:00.0", "0:00.5", "0:01.0"]);
});

test("undo and redo", () => {
  const history = new regions.History("");
  for (const text of ["a", "a", "b"]) history.add(text);
  assert.deepEqual([history.go(-1), history.go(-1), history.go(-1), history.canUndo], ["a", "", "", false]);
  assert.deepEqual([history.go(1), history.canRedo], ["a", true]);
  history.add("c");
  assert.deepEqual([history.go(1), history.canRedo, history.go(-1)], ["c", false, "a"]);
});

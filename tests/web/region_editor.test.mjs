import assert from "node:assert/strict";
import { test } from "node:test";

import { Gestures, RegionEditor, regions } from "./region_modules.mjs";

const BEATS = { beat: 0.5, first: 0, in_bar: 4 };
const SECONDS = 20;

/** An editor without its elements: a sound of 20 s over 200 pixels. */
function editorOf(text) {
  const told = [];
  const editor = Object.assign(Object.create(RegionEditor.prototype), {
    others: [],
    regions: [],
    selected: -1,
    beats: null,
    readOnly: false,
    sound: { key: "one" },
    failed: false,
    duration: SECONDS,
    view: { start: 0, span: SECONDS },
    history: new regions.History(text),
    on: { change: (changed) => told.push(changed) },
    drawing: { frame: { getBoundingClientRect: () => ({ left: 0, right: 200, width: 200 }) }, setPeaks() {} },
    peaks: { stop() {} },
    player: { load() {} },
    draw() {},
  });
  editor.gestures = Object.assign(Object.create(Gestures.prototype), { editor, drag: null });
  editor.take(text);
  return { editor, told, drag: (from, to) => drag(editor.gestures, from, to) };
}

function drag(gestures, from, to) {
  const at = (seconds) => ({ clientX: seconds * 10, altKey: true });
  gestures.drag = gestures.beginOnWave(at(from));
  gestures.moved(at(to));
  return () => gestures.drop(at(to));
}

test("a region that is being drawn stays when the tempo becomes known", () => {
  const { editor, told, drag } = editorOf("bars 7-8");
  const drop = drag(2, 5);
  editor.setBeats(BEATS);
  assert.equal(editor.regions.length, 1); // the drawn one, not yet that of the bars
  drop();
  assert.deepEqual(told, ["2-5, bars 7-8"]);
  assert.deepEqual(
    editor.regions.map(({ start, end }) => [start, end]),
    [
      [2, 5],
      [12, 16],
    ],
  );
});

test("a drag that is given up leaves the text as the beats make it", () => {
  const { editor, told, drag } = editorOf("bars 7-8");
  drag(2, 5);
  editor.setBeats(BEATS);
  editor.gestures.letGo();
  assert.deepEqual([told, editor.regions.length, editor.regions[0].start], [[], 1, 12]);
});

test("another sound ends a drag on the one before", () => {
  const { editor, told, drag } = editorOf("");
  const drop = drag(2, 5);
  editor.setSound(null, "none");
  drop();
  assert.deepEqual([told, editor.regions], [[], []]);
});

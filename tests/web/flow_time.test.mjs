import assert from "node:assert/strict";
import { test } from "node:test";

import {
  currentStep,
  dragged,
  mismatch,
  mismatches,
  mismatchText,
  percent,
  rangeText,
  rescaled,
  shareText,
  span,
  ticks,
  timesQuery,
} from "../../web/flow_time.js";

const L = [1, 0.9545, 0.9, 0.8333];
const M = [0.8333, 0.75, 0.6429, 0.5];
const S = [0.5, 0.3, 0];

test("noise is at the left edge and music at the right one", () => {
  assert.equal(percent(1), 0);
  assert.equal(percent(0), 100);
  assert.equal(percent(0.75), 25);
});

test("times outside of 0 to 1 stay on the strip", () => {
  assert.equal(percent(1.2), 0);
  assert.equal(percent(-0.1), 100);
});

test("a share begins where the share before it ends", () => {
  const [first, second] = [span(L[0], L[3]), span(M[0], M[3])];
  assert.equal(first.x, 0);
  assert.ok(Math.abs(first.x + first.width - second.x) < 1e-9);
  assert.ok(Math.abs(span(1, 0).width - 100) < 1e-9);
});

test("a share that would run backwards has no width", () => {
  assert.equal(span(0.2, 0.6).width, 0);
});

test("ticks are the times between two steps", () => {
  assert.deepEqual(ticks([1, 0.75, 0.5]), [25]);
  assert.deepEqual(ticks([1, 0.5]), []);
});

test("ticks that would run together are left out", () => {
  const many = Array.from({ length: 101 }, (_, i) => 1 - i / 1000);
  assert.deepEqual(ticks(many), []);
  assert.equal(ticks(many, 0.05).length, 99);
});

test("stages that meet have neither gap nor overlap", () => {
  assert.deepEqual(mismatches(L, 1, [M[0]]), []);
  assert.deepEqual(mismatches(M, L.at(-1), [S[0]]), []);
  assert.deepEqual(mismatches(S, M.at(-1), [0]), []);
});

test("a time that differs by rounding only is the same time", () => {
  assert.equal(mismatch(5 / 6, 0.8333), null);
  assert.notEqual(mismatch(0.8333, 0.83), null);
});

test("what nobody runs is a gap, what two run is an overlap", () => {
  assert.deepEqual(mismatch(0.8333, 0.75), { kind: "gap", from: 0.8333, to: 0.75 });
  assert.deepEqual(mismatch(0.75, 0.8333), { kind: "overlap", from: 0.8333, to: 0.75 });
});

test("an unknown neighbour is no mismatch", () => {
  assert.deepEqual(mismatches(M, undefined, []), []);
  assert.equal(mismatch(null, 0.5), null);
});

test("each branch that a latent goes on to is compared", () => {
  assert.deepEqual(
    mismatches(L, 1, [0.8333, 0.7, 0.9]).map(({ kind }) => kind),
    ["gap", "overlap"],
  );
});

test("noise left for the vocoder, and a start without its noise, are gaps", () => {
  assert.deepEqual(mismatches([0.5, 0.1], 1, [0]).map(mismatchText), ["gap 1–0.5", "gap 0.1–0"]);
});

test("times are told in two digits, in four where two would look alike", () => {
  assert.equal(rangeText(0.83333, 0.75), "0.83–0.75");
  assert.equal(rangeText(0.8333, 0.8301), "0.8333–0.8301");
  assert.equal(shareText(L), "1 → 0.83 · 3 steps");
  assert.equal(shareText([0.5, 0]), "0.5 → 0 · 1 step");
});

test("the current step goes from the first to the last, also if progress counts otherwise", () => {
  assert.deepEqual(currentStep(M, 0, 3), { number: 1, of: 3, from: 0.8333, to: 0.75 });
  assert.deepEqual(currentStep(M, 2, 3), { number: 3, of: 3, from: 0.6429, to: 0.5 });
  assert.equal(currentStep(M, 3, 3).number, 3);
  assert.equal(currentStep(M, 3, 6).number, 2);
  assert.equal(currentStep(M, 0, 0).number, 1);
});

test("the query leaves out what is not known and quotes the rest", () => {
  const query = timesQuery({ slot: "L", model: "my model (1.2 GB)", steps: 0, start: undefined, at: null });
  const read = new URLSearchParams(query);
  assert.deepEqual([...read.keys()], ["slot", "model", "steps"]);
  assert.equal(read.get("model"), "my model (1.2 GB)");
});

test("a handle goes where it is dragged, rounded as the widgets are", () => {
  assert.deepEqual(dragged([0.8, 0.5], "start", 0.612345), [0.6123, 0.5]);
  assert.deepEqual(dragged([0.8, 0.5], "end", 0.3), [0.8, 0.3]);
});

test("a handle stops at the other one and at the ends of the strip", () => {
  assert.deepEqual(dragged([0.8, 0.5], "start", 0.2), [0.501, 0.5]);
  assert.deepEqual(dragged([0.8, 0.5], "start", 1.7), [1, 0.5]);
  assert.deepEqual(dragged([0.8, 0.5], "end", 0.9), [0.8, 0.799]);
  assert.deepEqual(dragged([0.8, 0.5], "end", -1), [0.8, 0]);
});

test("a handle takes the nearest time of its neighbours", () => {
  assert.deepEqual(dragged([0.8, 0.5], "start", 0.895, [0.9, 0.893, 0.1]), [0.893, 0.5]);
  assert.deepEqual(dragged([0.8, 0.5], "start", 0.85, [0.9]), [0.85, 0.5]);
  assert.deepEqual(dragged([0.8, 0.5], "end", 0.205, [0.2, 0.9]), [0.8, 0.2]);
});

test("steps keep their places in a share that is moved", () => {
  const moved = rescaled([1, 0.75, 0.5], [0.8, 0.4]);
  assert.ok(moved.every((t, step) => Math.abs(t - [0.8, 0.6, 0.4][step]) < 1e-9));
  assert.deepEqual(rescaled([0.5, 0.5], [0.9, 0.1])[0], 0.9);
});

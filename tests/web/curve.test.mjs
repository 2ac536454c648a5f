import assert from "node:assert/strict";
import { test } from "node:test";

import { dotsPath, linePath, lossText, place, previewLabel } from "../../web/curve.js";

test("steps go to the right and losses up", () => {
  assert.deepEqual(place(5, 1.5, 10, [1, 2]), { x: 50, y: 50 });
  assert.deepEqual(place(0, 2, 10, [1, 2]), { x: 0, y: 0 });
  assert.deepEqual(place(10, 1, 10, [1, 2]), { x: 100, y: 100 });
});

test("what is out of the box lies on its edge, and no box is no trouble", () => {
  assert.equal(place(1, 9, 10, [1, 2]).y, 0);
  assert.equal(place(1, 0, 10, [1, 2]).y, 100);
  assert.deepEqual(place(1, 1, 0, [1, 1]), { x: 100, y: 50 });
});

test("a path goes through every point", () => {
  const pairs = [
    [0, 2, "more"],
    [10, 1, "more"],
  ];
  assert.equal(linePath(pairs, 10, [1, 2]), "M0.00 0.00L100.00 100.00");
  assert.equal(dotsPath(pairs, 10, [1, 2]), "M0.00 0.00h0.01M100.00 100.00h0.01");
  assert.equal(linePath([], 10, [0, 1]), "");
});

test("losses and previews are named for people", () => {
  assert.equal(lossText(1.23456), "1.235");
  assert.equal(lossText(undefined), "–");
  assert.equal(previewLabel("step-000250.flac"), "step 250");
  assert.equal(previewLabel("step-000000-without.flac"), "step 0 without");
});

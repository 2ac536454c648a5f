import assert from "node:assert/strict";
import { test } from "node:test";

import { roomBelow, textHeight } from "../../web/text_room.js";

const NODE = [100, 100, 200, 150]; // down to 250

test("the room ends at the nearest node below, less a gap", () => {
  assert.equal(
    roomBelow(NODE, [
      [100, 400, 200, 50],
      [250, 314, 200, 50],
    ]),
    40,
  );
});

test("nodes beside and above do not count", () => {
  const beside = [
    [310, 260, 50, 50],
    [0, 260, 90, 50],
    [100, 0, 200, 40],
    [120, 110, 50, 50],
  ];
  assert.equal(roomBelow(NODE, beside), Infinity);
  assert.equal(roomBelow(NODE, []), Infinity);
});

test("a node that is too near, or covered, leaves less than no room", () => {
  assert.equal(roomBelow(NODE, [[100, 255, 10, 10]]), -19);
  assert.equal(roomBelow(NODE, [[100, 230, 10, 10]]), -44);
});

test("a text takes what it needs, within the room and within the most", () => {
  assert.equal(textHeight(50, Infinity, 200), 50);
  assert.equal(textHeight(300, Infinity, 200), 200);
  assert.equal(textHeight(300, 90, 200), 90);
});

test("two lines are shown where there is no room, and no text takes none", () => {
  assert.equal(textHeight(300, -50, 200), 34);
  assert.equal(textHeight(20, 0, 200), 20);
  assert.equal(textHeight(0, 500, 200), 0);
});

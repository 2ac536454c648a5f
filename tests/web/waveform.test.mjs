import assert from "node:assert/strict";
import { test } from "node:test";

import {
  barsPath,
  clock,
  gain,
  letterOf,
  peaks,
  sameLength,
  secondsAt,
  switchedTo,
  takeText,
} from "../../web/waveform.js";

test("a column holds the lowest and the highest sample of its part", () => {
  const left = Float32Array.from([0, 0.5, -0.25, 0, 0, 0, 0.125, -1]);
  assert.deepEqual(peaks([left], 2), [
    [-0.25, 0.5],
    [-1, 0.125],
  ]);
});

test("all channels count", () => {
  assert.deepEqual(peaks([Float32Array.of(0.25, 0), Float32Array.of(-0.5, 0.75)], 1), [[-0.5, 0.75]]);
});

test("every sample is in one column, whatever the number of columns", () => {
  const samples = new Float32Array(1000);
  for (const at of [0, 1, 333, 998, 999]) {
    samples.fill(0)[at] = 1;
    assert.equal(peaks([samples], 7).filter(([, high]) => high === 1).length, 1);
  }
});

test("a clip with fewer samples than columns, and one without any, can be drawn", () => {
  assert.equal(peaks([Float32Array.of(1, -1)], 5).length, 5);
  assert.deepEqual(peaks([new Float32Array(0)], 2), [
    [0, 0],
    [0, 0],
  ]);
  assert.deepEqual(peaks([], 1), [[0, 0]]);
});

test("the loudest peak fills the height, silence is not blown up", () => {
  assert.equal(gain([[-0.5, 0.25]]), 2);
  assert.equal(gain([[-0.01, 0.01]]), 8);
  assert.equal(gain([[0, 0]]), 1);
});

test("a path has one bar a column and stays in its box", () => {
  const path = barsPath(
    [
      [-2, 2],
      [0, 0],
    ],
    { scale: 1, bar: 0.5, least: 0.1 },
  );
  assert.equal(path, "M0.25 -1.000h0.50V1.000h-0.50zM1.25 -0.100h0.50V0.100h-0.50z");
});

test("the clock", () => {
  assert.equal(clock(0), "0:00");
  assert.equal(clock(75.9), "1:15");
  assert.equal(clock(3723), "1:02:03");
  assert.equal(clock(NaN), "–:––");
  assert.equal(clock(Infinity), "–:––");
});

test("a click falls on its share of the duration, and outside on an end", () => {
  const box = { left: 100, width: 200 };
  assert.equal(secondsAt(150, box, 60), 15);
  assert.equal(secondsAt(50, box, 60), 0);
  assert.equal(secondsAt(400, box, 60), 60);
  assert.equal(secondsAt(150, { left: 0, width: 0 }, 60), 0);
  assert.equal(secondsAt(150, box, NaN), 0);
});

test("another take goes on where the first one is, or begins anew past its own end", () => {
  assert.equal(switchedTo(12.5, 30), 12.5);
  assert.equal(switchedTo(30, 30), 0);
  assert.equal(switchedTo(40, 30), 0);
  assert.equal(switchedTo(12.5, NaN), 0);
});

test("takes of one song have one length", () => {
  assert.ok(sameLength(30, 30.04));
  assert.ok(!sameLength(30, 31));
  assert.ok(!sameLength(NaN, NaN));
});

test("takes have letters, then numbers", () => {
  assert.deepEqual([0, 1, 25, 26].map(letterOf), ["A", "B", "Z", "27"]);
});

test("a take's seed and loudness, where they are known", () => {
  assert.equal(takeText({ seed: 0, lufs: -14.16 }), "seed 0 · −14.2 LUFS");
  assert.equal(takeText({ seed: 7, lufs: null }), "seed 7");
  assert.equal(takeText({ seed: null, lufs: -9 }), "−9.0 LUFS");
  assert.equal(takeText(), "");
});

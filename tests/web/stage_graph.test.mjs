import assert from "node:assert/strict";
import { test } from "node:test";

import {
  goesToVocoder,
  hasClip,
  latentKind,
  line,
  modelOf,
  slotOf,
  stageBefore,
  stagesAfter,
  valueOf,
} from "../../web/stage_graph.js";
import { graphOf } from "./graph.mjs";

const LATENT = "LATENT";
const MODEL = "ACESTEP_MODEL";
const REFERENCE = "ACESTEP_REFERENCE";

const stage = (slot, set = {}) => ({
  type: `AceStepStage${slot}`,
  in: { model: MODEL, latent: LATENT, reference: REFERENCE, steps: "INT" },
  out: { latent: LATENT, x0: LATENT },
  set: { steps: 0, ...set },
});
const cascade = { type: "AceStepLoadCascade", out: { L: MODEL, M: MODEL, S: MODEL }, set: { l: "a", m: "b", s: "c" } };
const lora = { type: "AceStepApplyLora", in: { model: MODEL }, out: { model: MODEL } };
const reference = (use) => ({
  type: "AceStepReferenceEncode",
  in: { reference: REFERENCE },
  out: { reference: REFERENCE },
  set: { use },
});
const [MODEL_IN, LATENT_IN, REFERENCE_IN, STEPS_IN] = [0, 1, 2, 3];

function nodes(graph) {
  for (const node of graph.nodes) node.comfyClass = node.type;
  return graph.nodes;
}

const edit = {
  type: "AceStepRepaint",
  in: { song: "ACESTEP_SONG", latent: LATENT, reference: REFERENCE },
  out: { song: "ACESTEP_SONG", reference: REFERENCE, latent: LATENT },
};

test("an edit begins with noise of the first stage's seed, whatever its reference is made of", () => {
  const retake = { ...reference(), type: "AceStepRetake" };
  const [, , , first] = nodes(
    graphOf({ 1: reference("continuation"), 2: edit, 3: retake, 4: stage("L") }, [
      [1, 0, 2, 2],
      [2, 1, 3, 0],
      [3, 0, 4, REFERENCE_IN],
      [2, 2, 4, LATENT_IN],
    ]),
  );
  assert.equal(latentKind(first), "empty");
  assert.equal(hasClip(first), false);
});

test("a stage has the model of the loader's output, past a LoRA", () => {
  const [, , m] = nodes(
    graphOf({ 1: cascade, 2: lora, 3: stage("M") }, [
      [1, 1, 2, 0],
      [2, 0, 3, MODEL_IN],
    ]),
  );
  assert.deepEqual(modelOf(m), { name: "b" });
  assert.equal(slotOf(m), "M");
});

test("a stage without a model, or with one of a node that is not ours, says why", () => {
  const other = { type: "Other", out: { model: MODEL } };
  const [alone] = nodes(graphOf({ 1: stage("L") }, []));
  const [, fed] = nodes(graphOf({ 1: other, 2: stage("L") }, [[1, 0, 2, MODEL_IN]]));
  assert.deepEqual(modelOf(alone), { why: "no model connected" });
  assert.deepEqual(modelOf(fed), { why: "model not known here" });
});

test("a widget's value comes from the node, from a primitive, or only from a run", () => {
  const primitive = { type: "PrimitiveInt", out: { INT: "INT" }, set: { value: 12 } };
  const counter = { type: "Counter", out: { INT: "INT" }, set: { value: 5 } };
  const value = (links) =>
    valueOf(nodes(graphOf({ 1: stage("L", { steps: 3 }), 2: primitive, 3: counter }, links))[0], "steps");
  assert.equal(value([]), 3);
  assert.equal(value([[2, 0, 1, STEPS_IN]]), 12);
  assert.equal(value([[3, 0, 1, STEPS_IN]]), undefined);
});

test("the kind of latent that comes in", () => {
  const kindFrom = (type, slot = 0) => {
    const before = type.startsWith("AceStepStage") ? stage(type.at(-1)) : { type, out: { latent: LATENT } };
    return latentKind(nodes(graphOf({ 1: before, 2: stage("M") }, [[1, slot, 2, LATENT_IN]]))[1]);
  };
  assert.equal(kindFrom("AceStepEmptyLatent"), "empty");
  assert.equal(kindFrom("EmptyAceStep1.5LatentAudio"), "empty");
  assert.equal(kindFrom("AceStepStageL"), "stage");
  assert.equal(kindFrom("AceStepStageL", 1), "finished");
  assert.equal(kindFrom("AceStepEncodeAudio"), "finished");
  assert.equal(kindFrom("LoadLatent"), undefined);
  assert.equal(latentKind(nodes(graphOf({ 1: stage("M") }, []))[0]), undefined);
});

test("the line of stages, past a node that repeats latents, up to the vocoder", () => {
  const repeat = { type: "RepeatLatentBatch", in: { samples: LATENT }, out: { samples: LATENT } };
  const vocode = { type: "AceStepVocode", in: { latent: LATENT }, out: { audio: "AUDIO" } };
  const links = [
    [1, 0, 2, 0],
    [2, 0, 3, LATENT_IN],
    [3, 0, 4, LATENT_IN],
    [4, 0, 5, 0],
  ];
  const [l, , m, s] = nodes(graphOf({ 1: stage("L"), 2: repeat, 3: stage("M"), 4: stage("S"), 5: vocode }, links));
  assert.deepEqual(line(s, stageBefore), [m, l]);
  assert.deepEqual(stagesAfter(l), [m]);
  assert.equal(stageBefore(l), null);
  assert.deepEqual([l, m, s].map(goesToVocoder), [false, false, true]);
});

test("a bypassed stage is left out of the line, a muted one ends it", () => {
  const links = [
    [1, 0, 2, LATENT_IN],
    [2, 0, 3, LATENT_IN],
  ];
  const [l, m, s] = nodes(graphOf({ 1: stage("L"), 2: stage("M"), 3: stage("S") }, links));
  m.mode = 4;
  assert.equal(stageBefore(s), l);
  assert.deepEqual(stagesAfter(l), [s]);
  m.mode = 2;
  assert.equal(stageBefore(s), null);
  assert.equal(latentKind(s), undefined);
});

test("whether a clip to go on from reaches a stage, through several references", () => {
  const clip = (...uses) => {
    const chain = Object.fromEntries(uses.map((use, index) => [index + 2, reference(use)]));
    const links = uses.map((_, index) => (index ? [index + 2, 0, index + 1, 0] : [2, 0, 1, REFERENCE_IN]));
    return hasClip(nodes(graphOf({ 1: stage("L"), ...chain }, links))[0]);
  };
  assert.equal(clip(), false);
  assert.equal(clip("timbre"), false);
  assert.equal(clip("continuation"), true);
  assert.equal(clip("timbre", "continuation"), true);
  assert.equal(clip("timbre", undefined), undefined);
});

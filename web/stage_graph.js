// What the graph says of a stage before anything runs: its model, the latent that comes in, the stages before and after
// it. Reads graph objects only, so that it can be tested without a page.

import { asleep, inputIndex, isFed, outermost, source, targets } from "./graph_links.js";

const SLOTS = { AceStepStageL: "L", AceStepStageM: "M", AceStepStageS: "S" };
const HANDED_ON = 0; // the stage's output for the next stage; the other one, x0, is finished music

// Nodes whose latents hold music as it is; other nodes may give anything, a half-made song out of a file as well.
const FINISHED = ["AceStepEncodeAudio", "VAEEncodeAudio", "KSampler", "KSamplerAdvanced", "SamplerCustomAdvanced"];

// Nodes that edit music: their latents are empty, and the stages take their noise from the seed of the first one.
const EDITS = ["Cover", "Repaint", "Extend", "Morph", "ExtractStem", "AddStem", "Complete"].map((one) => `AceStep${one}`);
const RETAKE = "AceStepRetake";

/** "L", "M" or "S"; undefined for other nodes. */
export function slotOf(node) {
  return SLOTS[node?.comfyClass ?? node?.type];
}

/** A widget's value, also if a primitive or a subgraph's own widget sets it; undefined if only a run can tell. */
export function valueOf(node, name) {
  const index = inputIndex(node, name);
  if (index < 0) return widgetValue(node, name);
  const outer = outermost(node, index);
  const input = outer.node.inputs[outer.slot];
  const named = outer.node === node ? name : (input.widget?.name ?? input.name);
  if (!isFed(outer.node, outer.slot)) return widgetValue(outer.node, named);
  const given = source(outer.node, outer.slot)?.node;
  return given?.type.startsWith("Primitive") ? given.widgets?.[0]?.value : undefined;
}

export function widgetOf(node, name) {
  return node.widgets?.find((widget) => widget.name === name);
}

const widgetValue = (node, name) => widgetOf(node, name)?.value;

/** The loader at the end of the links from an input, past nodes that hand the same type on: {node, slot}, or null. */
export function loaderOf(node, input, isLoader) {
  const seen = new Set();
  let end = source(node, inputIndex(node, input));
  while (end && !seen.has(end.node) && !isLoader(end.node)) {
    seen.add(end.node);
    const onward = inputIndex(end.node, input); // Apply LoRA and its like
    end = onward < 0 ? null : source(end.node, onward);
  }
  return end && isLoader(end.node) ? end : null;
}

/** The name of the model that a stage is given: {name}, or {why} there is none. */
export function modelOf(node) {
  if (!source(node, inputIndex(node, "model"))) return { why: "no model connected" };
  const loader = loaderOf(node, "model", (one) => modelWidgets(one) !== undefined);
  if (!loader) return { why: "model not known here" };
  const name = valueOf(loader.node, modelWidgets(loader.node)[loader.slot]);
  return name ? { name } : { why: "the model's name comes from a link" };
}

/** The widgets that name what comes out of a loader's outputs. */
function modelWidgets(node) {
  return { AceStepLoadStageModel: ["model"], AceStepLoadCascade: ["l", "m", "s"] }[node.comfyClass];
}

/** A node through which a latent goes as it is: it has one LATENT in and out, and no model of its own to change it. */
function handsLatentsOn(node) {
  const latents = (slots) => slots?.filter((slot) => slot.type === "LATENT").length ?? 0;
  const sampler = node.inputs?.some((input) => input.type === "MODEL" || input.type === "ACESTEP_MODEL");
  return latents(node.inputs) === 1 && latents(node.outputs) > 0 && !sampler && !node.comfyClass?.startsWith("AceStep");
}

function latentSource(node) {
  return source(node, inputIndex(node, "latent"), handsLatentsOn);
}

/** The kind of latent that comes in: "empty", "stage" (half made), "finished"; undefined if the graph does not say. */
export function latentKind(node) {
  const end = latentSource(node);
  if (!end || asleep(end.node)) return undefined;
  if (slotOf(end.node)) return end.slot === HANDED_ON ? "stage" : "finished";
  const kind = end.node.comfyClass ?? end.node.type;
  if (kind === "AceStepEmptyLatent" || EDITS.includes(kind) || /^Empty.*Latent/.test(kind)) return "empty";
  return FINISHED.includes(kind) ? "finished" : undefined;
}

/** The stage that hands its latent to this one, or null. */
export function stageBefore(node) {
  const end = latentSource(node);
  return end && runs(end.node) && end.slot === HANDED_ON ? end.node : null;
}

export function stagesAfter(node) {
  return [...new Set(targets(node, HANDED_ON, handsLatentsOn).map((end) => end.node))].filter(runs);
}

/** Stages further up or down the line, nearest first. */
export function line(node, next) {
  const found = [];
  let stage = next(node);
  while (stage && stage !== node && !found.includes(stage)) {
    found.push(stage);
    stage = next(stage);
  }
  return found;
}

/** Whether the latent goes, finished or not, straight to the vocoder. */
export function goesToVocoder(node) {
  return targets(node, HANDED_ON, handsLatentsOn).some((end) => end.node.comfyClass === "AceStepVocode");
}

/** Whether a node edits music, and hands a song on. */
export function isEdit(node) {
  return EDITS.includes(node?.comfyClass ?? node?.type);
}

/**
 * Whether a clip to go on from reaches a stage, for which later stages draw noise of their own; undefined where the graph
 * does not say.
 */
export function hasClip(node) {
  const seen = new Set();
  let end = source(node, inputIndex(node, "reference"));
  if (!end) return isFed(node, inputIndex(node, "reference")) ? undefined : false;
  for (; end && !seen.has(end.node); end = source(end.node, inputIndex(end.node, "reference"))) {
    if ((isEdit(end.node) || end.node.comfyClass === RETAKE) && !asleep(end.node)) return false;
    if (end.node.comfyClass !== "AceStepReferenceEncode" || asleep(end.node)) return undefined;
    seen.add(end.node);
    const use = valueOf(end.node, "use");
    if (use !== "timbre") return use === "continuation" ? true : undefined;
  }
  return false;
}

function runs(node) {
  return Boolean(slotOf(node)) && !asleep(node);
}

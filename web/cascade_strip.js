// Draws on every stage node which share of the flow time it runs, beside the shares of its neighbours, with a warning
// where they do not meet. The server does the arithmetic (GET /acestep-cascade/stretch), the browser only draws.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { html, passWheel, svg } from "./elements.js";
import { asleep, inputIndex, nodeByPath, outermost, source, targets } from "./graph_links.js";
import { currentStep, mismatches, mismatchText, percent, shareText, span, stretchQuery, ticks } from "./stretch.js";

const SLOTS = { AceStepStageL: "L", AceStepStageM: "M", AceStepStageS: "S" };
const COLOURS = { L: "#4f8df5", M: "#a678ee", S: "#2bb59b" };
const WARNING = "#f0a01e";
const legible = (colour) => `color-mix(in srgb, ${colour} 65%, var(--input-text))`; // as text, on dark and on light
const HAND_ON = 0; // the stage's output that is handed on; the other one, x0, is finished music
const HEIGHT = 62;
const BAR_HEIGHT = 24; // letters above, ticks below
const SETTLE_MS = 150; // changes that come closer together than this are answered once
const ERROR_KEPT_MS = 2000;
const ANSWERS_KEPT = 500;

const ONE_LINE = { display: "block", whiteSpace: "nowrap", textAlign: "center" };
const TWO_LINES = { display: "-webkit-box", whiteSpace: "normal", textAlign: "left" };

const STRIP_CSS =
  `box-sizing:border-box;height:${HEIGHT}px;padding:1px 0;display:flex;flex-direction:column;gap:3px;overflow:hidden;` +
  "font:11px/14px system-ui,sans-serif;color:var(--descrip-text);user-select:none;";

const strips = new Map(); // node -> Strip
const answers = new Map(); // query -> promise of what the server says
const watched = new WeakSet(); // widgets

// ---- what the graph says ----

function slotOf(node) {
  return SLOTS[node?.comfyClass ?? node?.type];
}

/** A widget's value, also if a primitive or a subgraph's own widget sets it; undefined if only a run can tell. */
function valueOf(node, name) {
  const index = inputIndex(node, name);
  if (index < 0) return widgetValue(node, name);
  const outer = outermost(node, index);
  const input = outer.node.inputs[outer.slot];
  const named = outer.node === node ? name : (input.widget?.name ?? input.name);
  if (input.link == null) return widgetValue(outer.node, named);
  const given = source(outer.node, outer.slot)?.node;
  return given?.type.startsWith("Primitive") ? given.widgets?.[0]?.value : undefined;
}

function widgetValue(node, name) {
  return node.widgets?.find((widget) => widget.name === name)?.value;
}

/** The name of the model that a stage is given: {name}, or {why} there is none. */
function modelOf(node) {
  const seen = new Set();
  let end = source(node, inputIndex(node, "model"));
  if (!end) return { why: "no model connected" };
  while (end && !seen.has(end.node)) {
    seen.add(end.node);
    const named = loaderWidget(end);
    if (named) return nameFrom(valueOf(end.node, named));
    const onward = inputIndex(end.node, "model"); // Apply LoRA and its like
    end = onward < 0 ? null : source(end.node, onward);
  }
  return { why: "model not known here" };
}

function nameFrom(value) {
  return value ? { name: value } : { why: "the model's name comes from a link" };
}

function loaderWidget({ node, slot }) {
  if (node.comfyClass === "AceStepLoadStageModel") return "model";
  return node.comfyClass === "AceStepLoadCascade" ? ["l", "m", "s"][slot] : null;
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

/** The stage that hands its latent to this one, or null. */
function stageBefore(node) {
  const end = latentSource(node);
  return end && runs(end.node) && end.slot === HAND_ON ? end.node : null;
}

function stagesAfter(node) {
  return [...new Set(targets(node, HAND_ON, handsLatentsOn).map((end) => end.node))].filter(runs);
}

function runs(node) {
  return Boolean(slotOf(node)) && !asleep(node);
}

/** Whether the latent goes, unfinished or not, straight to the vocoder. */
function goesToVocoder(node) {
  return targets(node, HAND_ON, handsLatentsOn).some((end) => end.node.comfyClass === "AceStepVocode");
}

// ---- what the server says ----

function answer(query) {
  if (answers.size > ANSWERS_KEPT) answers.clear();
  if (!answers.has(query)) {
    const asked = fetchStretch(query);
    answers.set(query, asked);
    asked.then(({ error }) => {
      if (error) setTimeout(() => answers.delete(query), ERROR_KEPT_MS);
    });
  }
  return answers.get(query);
}

async function fetchStretch(query) {
  try {
    const response = await api.fetchApi(`/acestep-cascade/stretch?${query}`);
    const body = await response.json();
    return response.ok ? body : { error: body.error ?? `the server answered ${response.status}` };
  } catch {
    return { error: "no answer from the server" };
  }
}

/**
 * The stretch of a stage: {times, ...}, the server's {error}, or why it is {unknown}. `below` are the stages that wait
 * for it, so that a loop ends.
 */
async function stretchOf(node, below = new Set()) {
  if (asleep(node)) return { unknown: asleep(node) };
  const model = modelOf(node);
  if (!model.name) return { unknown: model.why };
  const asked = { slot: slotOf(node), model: model.name };
  for (const name of ["steps", "shift"]) {
    asked[name] = valueOf(node, name);
    if (asked[name] === undefined) return { unknown: `${name} comes from a link` };
  }
  if (valueOf(node, "stretch") === "custom") {
    asked.start = valueOf(node, "stretch.start");
    asked.end = valueOf(node, "stretch.end");
    if (asked.start === undefined || asked.end === undefined) return { unknown: "start or end comes from a link" };
  } else {
    asked.at = await comesAt(node, below);
  }
  return answer(stretchQuery(asked));
}

/** The time of the latent that comes in; undefined if the graph does not tell. */
async function comesAt(node, below) {
  const before = stageBefore(node);
  if (before && !below.has(before)) return (await stretchOf(before, new Set([...below, node]))).times?.at(-1);
  return latentSource(node)?.node.comfyClass === "AceStepEmptyLatent" ? 1 : undefined;
}

/** Stages further up or down the line, nearest first. */
function line(node, next) {
  const found = [];
  let stage = next(node);
  while (stage && stage !== node && !found.includes(stage)) {
    found.push(stage);
    stage = next(stage);
  }
  return found;
}

async function lookAt(node) {
  const own = await stretchOf(node);
  const after = stagesAfter(node);
  const others = new Set([...line(node, stageBefore), ...after, ...line(node, (stage) => stagesAfter(stage)[0])]);
  others.delete(node);
  const shares = await Promise.all([...others].map(async (stage) => ({ stage, ...(await stretchOf(stage)) })));
  const neighbours = shares.filter(({ times }) => times).map(({ stage, times }) => ({ slot: slotOf(stage), times }));
  if (!own.times) return { ...own, neighbours, problems: [] };
  const starts = shares.filter(({ stage, times }) => times && after.includes(stage)).map(({ times }) => times[0]);
  const goneOnAt = goesToVocoder(node) ? [...starts, 0] : starts;
  return { ...own, neighbours, problems: mismatches(own.times, await comesAt(node, new Set()), goneOnAt) };
}

let settle = null;
let round = 0;

function refreshSoon() {
  clearTimeout(settle);
  settle = setTimeout(refresh, SETTLE_MS);
}

async function refresh() {
  const mine = ++round;
  for (const [node, strip] of strips) {
    watch(node); // start and end come and go with the choice of a stretch
    const view = await lookAt(node);
    if (mine !== round) return; // something has changed meanwhile
    strip.show(view);
  }
}

// ---- drawing ----

function row(...children) {
  const element = html("div", "display:flex;justify-content:space-between;gap:8px;line-height:14px;max-height:28px");
  element.append(...children);
  return element;
}

function label(css = "", text = "") {
  return html("span", `overflow:hidden;text-overflow:ellipsis;white-space:nowrap;${css}`, { textContent: text });
}

let stripNumber = 0;

class Strip {
  constructor(slot) {
    this.slot = slot;
    this.hatch = `acestep-hatch-${++stripNumber}`;
    this.view = { unknown: "", neighbours: [], problems: [] };
    this.share = label("color:var(--input-text)");
    this.kind = label("flex:0 0 auto");
    this.note = label("-webkit-line-clamp:2;-webkit-box-orient:vertical");
    const bar = { width: "100%", height: BAR_HEIGHT, style: "display:block;border-radius:4px;overflow:hidden" };
    this.bar = svg("svg", bar);
    this.ends = ["noise", "music"].map((text) => label("flex:0 0 auto", text));
    this.head = row(this.share, this.kind);
    const foot = row(this.ends[0], this.note, this.ends[1]);
    this.element = html("div", STRIP_CSS);
    this.element.append(this.head, this.bar, foot);
    this.draw();
  }

  show(view) {
    const text = JSON.stringify(view);
    if (text === this.text) return;
    this.text = text;
    this.view = view;
    this.draw();
  }

  /** `progress` is {value, max} while the node runs, else undefined. */
  run(progress) {
    if (!progress && !this.progress) return;
    this.progress = progress;
    this.draw();
  }

  draw() {
    const { times, error, unknown, guidance } = this.view;
    const step = times && this.progress ? currentStep(times, this.progress.value, this.progress.max) : null;
    this.write(step);
    this.element.title = times ? `guidance by default: ${guidance}` : (error ?? unknown);
    this.bar.replaceChildren(...this.parts(step));
  }

  write(step) {
    const { times, error, unknown, problems, variant, shift } = this.view;
    this.share.textContent = times ? shareText(times) : (unknown ?? "");
    this.kind.textContent = times ? `${variant} · shift ${shift}` : "";
    const warning = error ?? problems.map(mismatchText).join(", ");
    this.note.textContent = step ? `step ${step.number} of ${step.of}` : warning;
    this.note.style.color = legible(step ? COLOURS[this.slot] : WARNING);
    // An error is a sentence: it takes the room of all other words.
    this.head.style.display = error ? "none" : "flex";
    Object.assign(this.note.style, error ? TWO_LINES : ONE_LINE);
    for (const end of this.ends) end.style.display = error ? "none" : "";
  }

  parts(step) {
    const { times, neighbours, problems } = this.view;
    return [
      this.pattern(),
      svg("rect", { width: "100%", height: "100%", fill: "var(--comfy-input-bg)" }),
      ...neighbours.map((one) => this.fill(one, 0.3)),
      ...(times ? [this.fill({ slot: this.slot, times }, step ? 0.55 : 0.95)] : []),
      ...(step ? [this.block(step.from, step.to, { fill: COLOURS[this.slot], opacity: 1 })] : []),
      ...(times ? ticks(times).map((x) => this.tick(x)) : []),
      ...problems.map(({ from, to }) => this.block(from, to, { fill: `url(#${this.hatch})`, stroke: WARNING })),
      ...neighbours.map((one) => this.letter(one, "var(--input-text)", 0.75)),
      ...(times && !step ? [this.letter({ slot: this.slot, times }, "#fff", 1)] : []),
      ...(step ? [this.cursor(step.from)] : []),
    ];
  }

  pattern() {
    const size = { width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" };
    return svg("pattern", { id: this.hatch, ...size }, svg("rect", { width: 3, height: 6, fill: WARNING }));
  }

  block(from, to, attributes) {
    const { x, width } = span(from, to);
    return svg("rect", { x: `${x}%`, width: `${width}%`, y: 0, height: "100%", ...attributes });
  }

  fill({ slot, times }, opacity) {
    return this.block(times[0], times.at(-1), { fill: COLOURS[slot], opacity });
  }

  tick(x) {
    return svg("line", { x1: `${x}%`, x2: `${x}%`, y1: 17, y2: BAR_HEIGHT, stroke: "#fff", "stroke-opacity": 0.8 });
  }

  cursor(t) {
    const x = `${percent(t)}%`;
    return svg("line", { x1: x, x2: x, y1: 0, y2: "100%", stroke: "#fff", "stroke-width": 2 });
  }

  letter({ slot, times }, fill, opacity) {
    const { x, width } = span(times[0], times.at(-1));
    if (width < 5) return svg("g", {});
    const place = { x: `${x + width / 2}%`, y: 13, "text-anchor": "middle", "font-size": 10, "font-weight": 600 };
    return svg("text", { ...place, fill, "fill-opacity": opacity }, slot);
  }
}

function addStrip(node, slot) {
  const strip = new Strip(slot);
  const height = () => HEIGHT;
  const options = { serialize: false, hideOnZoom: false, margin: 10, getMinHeight: height, getMaxHeight: height };
  const widget = node.addDOMWidget("stretch_strip", "acestep_stretch", strip.element, options);
  widget.serialize = false; // it holds no value: a saved workflow must not know of it
  passWheel(strip.element, () => app.canvas);
  strips.set(node, strip);
}

// ---- hooks ----

/** Calls `then` after a method of a node type, whether it has one or not. */
function after(nodeType, method, then) {
  const before = nodeType.prototype[method];
  nodeType.prototype[method] = function (...given) {
    const result = before?.apply(this, given);
    then.call(this);
    return result;
  };
}

/** Looks again whenever one of a node's widgets is set: graphChanged does not tell of every one in Nodes 2.0. */
function watch(node) {
  for (const widget of node.widgets ?? []) {
    if (watched.has(widget)) continue;
    watched.add(widget);
    const { callback } = widget;
    widget.callback = function (...given) {
      refreshSoon();
      return callback?.apply(this, given);
    };
  }
}

function onProgress({ detail }) {
  const now = new Map();
  for (const [path, { value, max, state }] of Object.entries(detail.nodes ?? {})) {
    const node = state === "running" ? nodeByPath(app.rootGraph ?? app.graph, path) : null;
    if (strips.has(node)) now.set(node, { value, max });
  }
  showRunning(now);
}

function showRunning(now) {
  for (const [node, strip] of strips) strip.run(now.get(node));
}

app.registerExtension({
  name: "acestep-cascade.strip",
  setup() {
    api.addEventListener("graphChanged", refreshSoon);
    api.addEventListener("progress_state", onProgress);
    for (const end of ["execution_success", "execution_error", "execution_interrupted"]) {
      api.addEventListener(end, () => showRunning(new Map()));
    }
  },
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("AceStep")) return;
    after(nodeType, "onConnectionsChange", refreshSoon);
    if (!SLOTS[nodeData.name]) return;
    after(nodeType, "onRemoved", function () {
      strips.delete(this);
      refreshSoon();
    });
  },
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("AceStep")) return;
    watch(node);
    if (!slotOf(node)) return;
    addStrip(node, slotOf(node));
    refreshSoon();
  },
  afterConfigureGraph: refreshSoon,
  refreshComboInNodes() {
    answers.clear(); // the files may have changed
    refreshSoon();
  },
});

// Puts on every stage node the strip of its flow time, and shows the seed of stages M and S only where it counts.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { passWheel } from "./elements.js";
import { HEIGHT, Strip } from "./flow_strip.js";
import { asleep, inputIndex, isFed } from "./graph_links.js";
import { addFixedWidget, after, grow, onJobEnd, onSet } from "./node_hooks.js";
import { rootGraph, runningNode, setHeight, setHidden } from "./node_hooks.js";
import { slotOf, widgetOf } from "./stage_graph.js";
import { forgetAnswers, viewOf } from "./stage_times.js";

const SETTLE_MS = 150; // changes that come closer together than this are answered once
const START_AND_END = "stretch"; // the combo: auto, or custom with a start and an end
const ENDS = ["stretch.start", "stretch.end"];

const strips = new Map(); // node -> Strip
const watchedWidgets = new WeakSet();
const watchedGraphs = new WeakSet();

// ---- keeping up with the graph ----

let settle = null;
let round = 0;

function refreshSoon() {
  clearTimeout(settle);
  settle = setTimeout(refresh, SETTLE_MS);
}

async function refresh() {
  const mine = ++round;
  watchGraphs();
  for (const [node, strip] of strips) {
    watchWidgets(node); // start and end come and go with the choice of the combo
    const view = await viewOf(node);
    if (mine !== round) return; // something has changed meanwhile
    strip.show({ ...view, custom: isCustom(node) });
    if (!asleep(node)) showSeed(node, view.seed_counts ?? true);
  }
}

/** Refreshes whenever one of a node's widgets is set: graphChanged does not tell of every one in Nodes 2.0. */
function watchWidgets(node) {
  for (const widget of node.widgets ?? []) {
    if (watchedWidgets.has(widget)) continue;
    watchedWidgets.add(widget);
    onSet(widget, () => {
      refreshSoon();
      if (widget.name === START_AND_END && strips.has(node)) fillEnds(node);
    });
  }
}

/** Refreshes when a node is bypassed or muted, by whatever key, menu or button. */
function watchGraphs() {
  for (const graph of [rootGraph(), ...(rootGraph()?.subgraphs?.values() ?? [])]) {
    if (!graph?.events || watchedGraphs.has(graph)) continue;
    watchedGraphs.add(graph);
    graph.events.addEventListener("node:property:changed", ({ detail }) => {
      if (detail.property === "mode") refreshSoon();
    });
  }
}

// ---- start and end ----

/** Whether start and end are widgets that a user may set here. */
function isCustom(node) {
  return widgetOf(node, START_AND_END)?.value === "custom" && !ENDS.some((name) => isFed(node, inputIndex(node, name)));
}

/** A user who chooses "custom" begins with the start and the end that "auto" had. */
function fillEnds(node) {
  const { auto } = strips.get(node).view;
  if (isCustom(node) && auto) setEnds(node, ...auto);
}

function setEnds(node, ...values) {
  ENDS.forEach((name, index) => {
    const widget = widgetOf(node, name);
    const value = Number(values[index].toFixed(4));
    if (!widget || widget.value === value) return;
    widget.value = value;
    widget.callback?.(value);
  });
  node.setDirtyCanvas?.(true, true);
}

// ---- the seed ----

/** The seed widget where it counts, or where a link sets it; the node keeps no empty place for it. */
function showSeed(node, counts) {
  const shown = slotOf(node) === "L" || counts || isFed(node, inputIndex(node, "seed"));
  const seed = widgetOf(node, "seed");
  const widgets = seed ? [seed, ...(seed.linkedWidgets ?? [])] : []; // with what becomes of it after a run
  if (widgets.every((widget) => Boolean(widget.hidden) === !shown)) return;
  const isSnug = node.size[1] <= node.computeSize()[1] + 1;
  for (const widget of widgets) setHidden(widget, !shown);
  if (isSnug) setHeight(node, node.computeSize()[1]);
  grow(node);
}

// ---- the job that runs ----

function onProgress({ detail }) {
  const now = new Map();
  for (const [path, { value, max, state }] of Object.entries(detail.nodes ?? {})) {
    const node = state === "running" ? runningNode(path) : null;
    if (strips.has(node)) now.set(node, { value, max });
  }
  showRunning(now);
}

function showRunning(now) {
  for (const [node, strip] of strips) strip.run(now.get(node));
}

// ---- hooks ----

function addStrip(node) {
  const strip = new Strip(slotOf(node), (...ends) => setEnds(node, ...ends));
  addFixedWidget(node, "stretch_strip", "acestep_stretch", strip.element, () => HEIGHT);
  passWheel(strip.element, () => app.canvas);
  strips.set(node, strip);
}

app.registerExtension({
  name: "acestep-cascade.strip",
  setup() {
    api.addEventListener("graphChanged", refreshSoon);
    api.addEventListener("progress_state", onProgress);
    onJobEnd(() => showRunning(new Map()));
  },
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("AceStep")) return;
    after(nodeType, "onConnectionsChange", refreshSoon);
    if (!slotOf({ type: nodeData.name })) return;
    after(nodeType, "onRemoved", function () {
      strips.delete(this);
      refreshSoon();
    });
  },
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("AceStep")) return;
    watchWidgets(node);
    if (!slotOf(node)) return;
    addStrip(node);
    refreshSoon();
  },
  afterConfigureGraph: refreshSoon,
  refreshComboInNodes() {
    forgetAnswers(); // the files may have changed
    refreshSoon();
  },
});

// Draws on Train LoRA how the loss falls while it trains, and puts a player below it for every preview. The server
// sends all that is drawn each time, so that a page that is opened later misses nothing.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { dotsPath, linePath, lossText, previewLabel } from "./curve.js";
import { ACCENT, FONT_CSS, html, legible, passWheel, svg, WARNING } from "./elements.js";
import { addFixedWidget, after, grow, resultHooks, runningNode } from "./node_hooks.js";
import { SoundGroup, TOOLS_HEIGHT } from "./sound_group.js";
import { Row, ROW_HEIGHT } from "./sound_row.js";

const NODE = "AceStepTrainLora";
const EVENT = "acestep-cascade.training";
const RESULT = "acestep_training";
const CURVE_HEIGHT = 118;
const HEIGHT = CURVE_HEIGHT + 42; // with the words above and below it
const ROWS_SHOWN = 3; // of more a part of the next one is seen, and they scroll
const [MEAN, HELD_OUT] = [ACCENT, WARNING];

const BOARD_CSS =
  `${FONT_CSS}box-sizing:border-box;display:flex;flex-direction:column;gap:3px;overflow:hidden;` +
  "color:var(--descrip-text);user-select:none;";
const ROW_CSS = "display:flex;justify-content:space-between;gap:8px;white-space:nowrap;height:14px;flex:0 0 auto";
const FRAME_CSS = `position:relative;flex:0 0 auto;height:${CURVE_HEIGHT}px`;
const END_CSS = "position:absolute;left:6px;font-variant-numeric:tabular-nums;pointer-events:none;";

const boards = new Map(); // node -> Board

class Board {
  constructor(node) {
    this.node = node;
    this.rows = new Map(); // name of a preview -> Row, newest first
    this.group = new SoundGroup();
    this.element = html("div", BOARD_CSS);
    this.list = html("div", "flex:0 0 auto;overflow:hidden");
    this.element.append(...this.buildWords(), this.buildCurve(), this.buildFoot(), this.list, this.group.tools);
    this.group.tools.style.display = "none";
    passWheel(
      this.element,
      () => app.canvas,
      () => this.scrolls,
    );
  }

  buildWords() {
    const tabular = "font-variant-numeric:tabular-nums;";
    this.mean = html("span", `${tabular}color:${legible(MEAN)}`);
    this.heldOut = html("span", `${tabular}color:${legible(HELD_OUT)};flex:1`);
    this.where = html("span", tabular, { textContent: "loss" });
    const words = html("div", ROW_CSS);
    words.append(this.mean, this.heldOut, this.where);
    return [words];
  }

  buildCurve() {
    const line = (attributes) => svg("path", { fill: "none", "vector-effect": "non-scaling-stroke", ...attributes });
    this.single = line({ stroke: MEAN, "stroke-opacity": 0.35, "stroke-width": 1 });
    this.smooth = line({ stroke: MEAN, "stroke-width": 2, "stroke-linejoin": "round" });
    this.dots = line({ stroke: HELD_OUT, "stroke-width": 6, "stroke-linecap": "round" });
    const ruled = { stroke: "var(--descrip-text)", "stroke-opacity": 0.25, "stroke-width": 1 };
    const grid = [25, 50, 75].map((y) => line({ d: `M0 ${y}H100`, ...ruled }));
    const box = { viewBox: "0 0 100 100", preserveAspectRatio: "none", width: "100%", height: "100%" };
    this.grid = svg("g", { visibility: "hidden" }, ...grid);
    const drawn = svg("svg", box, this.grid, this.single, this.smooth, this.dots);
    drawn.style.cssText = "display:block;border-radius:4px;background:var(--comfy-input-bg)";
    this.high = html("span", `${END_CSS}top:3px`);
    this.low = html("span", `${END_CSS}bottom:3px`);
    const hint = "position:absolute;inset:0;display:grid;place-items:center;pointer-events:none";
    this.hint = html("span", hint, { textContent: "The loss is drawn here while it trains" });
    const frame = html("div", FRAME_CSS);
    frame.append(drawn, this.high, this.low, this.hint);
    return frame;
  }

  buildFoot() {
    this.first = html("span", "");
    this.last = html("span", "");
    const foot = html("div", ROW_CSS);
    foot.append(this.first, this.last);
    return foot;
  }

  get scrolls() {
    return this.rows.size > ROWS_SHOWN;
  }

  get listHeight() {
    return (this.scrolls ? ROWS_SHOWN + 0.5 : this.rows.size) * ROW_HEIGHT;
  }

  get height() {
    return HEIGHT + (this.rows.size ? this.listHeight + TOOLS_HEIGHT : 0);
  }

  show(view) {
    const { step, of, points, held_out: heldOut, ends, mean_steps: meanSteps, previews } = view;
    this.hint.style.display = points.length ? "none" : "";
    this.grid.setAttribute("visibility", "visible");
    this.single.setAttribute("d", linePath(points, of, ends)); // of [step, loss, mean] the first two
    const means = points.map(([at, , mean]) => [at, mean]);
    this.smooth.setAttribute("d", linePath(means, of, ends));
    this.dots.setAttribute("d", dotsPath(heldOut, of, ends));
    this.mean.textContent = points.length ? `loss ${lossText(means.at(-1)[1])}` : "";
    this.mean.title = `mean of the last ${meanSteps} steps`;
    this.heldOut.textContent = heldOut.length ? `held out ${lossText(heldOut.at(-1)[1])}` : "";
    this.heldOut.title = "mean loss of the held-out clips";
    this.where.textContent = `step ${step} of ${of}`;
    [this.low.textContent, this.high.textContent] = ends.map((end) => end.toPrecision(3));
    [this.first.textContent, this.last.textContent] = ["0", `${of} steps`];
    this.showPreviews(previews);
  }

  /** A row for each preview, the newest first; those that are there stay, for one may be playing. */
  showPreviews(previews) {
    const key = (file) => `${file.subfolder}/${file.filename}`;
    const wanted = new Set(previews.map(key));
    for (const [name, row] of this.rows) {
      if (!wanted.has(name)) row.remove();
    }
    const known = this.rows;
    const made = [...previews]
      .reverse()
      .map((file) => [
        key(file),
        known.get(key(file)) ?? new Row(file, this.group, { label: previewLabel(file.filename) }),
      ]);
    if (made.length === known.size && made.every(([name]) => known.has(name))) return;
    this.rows = new Map(made);
    this.group.rows = [...this.rows.values()]; // in the order in which they are drawn
    this.list.replaceChildren(...made.map(([, row]) => row.element));
    this.list.style.height = `${this.listHeight}px`;
    this.group.tools.style.display = this.rows.size ? "flex" : "none";
    this.list.style.overflowY = this.scrolls ? "auto" : "hidden";
    this.element.dataset.captureWheel = this.scrolls; // Nodes 2.0 lets the wheel scroll it then
    this.fit();
  }

  fit() {
    this.element.style.height = this.element.style.maxHeight = `${this.height}px`;
    grow(this.node);
  }

  clear() {
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
  }
}

const hooks = resultHooks((node, output) => {
  if (output[RESULT]) boards.get(node)?.show(output[RESULT][0]);
});

app.registerExtension({
  name: "acestep-cascade.training",
  ...hooks,
  setup() {
    api.addEventListener(EVENT, ({ detail }) => boards.get(runningNode(detail.node))?.show(detail));
  },
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== NODE) return;
    hooks.beforeRegisterNodeDef(nodeType, nodeData);
    after(nodeType, "onRemoved", function () {
      boards.get(this)?.clear();
      boards.delete(this);
    });
  },
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const board = new Board(node);
    addFixedWidget(node, "learning", "acestep_learning", board.element, () => board.height);
    boards.set(node, board);
  },
});

// The text that stays on one of the pack's nodes after a run: notes, reports, an adapter's facts. It comes with the
// results of the node, and before its end by an event of the server. Plain text, whatever strangers have written there.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { FONT_CSS, html, passWheel } from "./elements.js";
import { addFixedWidget, after, allNodes, AROUND, growsByItself, removeLiveText } from "./node_hooks.js";
import { onJobEnd, resultHooks, runningNode, setHeight, setHidden } from "./node_hooks.js";
import { roomBelow, textHeight } from "./text_room.js";

const RESULT = "acestep_text";
const EVENT = "acestep-cascade.text";
const MOST_HEIGHT = 210; // 14 lines; longer texts scroll
const SIDES = 20; // of a widget's margins
const TITLE_HEIGHT = 30;

// pre-wrap with break-word: lines break between words, and within one only where it is longer than a line.
const TEXT_CSS =
  `${FONT_CSS}box-sizing:border-box;padding:3px 6px;color:var(--input-text);` +
  "background:var(--comfy-input-bg);border-radius:4px;white-space:pre-wrap;overflow-wrap:break-word;" +
  "user-select:text;cursor:text;overflow:auto;";

const texts = new WeakMap(); // node -> NodeText
const heights = new WeakMap(); // node -> its height when the job began

class NodeText {
  constructor(node) {
    this.node = node;
    this.height = 0;
    this.added = 0; // height that the node has only for the text
    this.element = html("div", TEXT_CSS, { tabIndex: 0, role: "log", ariaLabel: "Report of this node" });
    this.element.addEventListener("keydown", (event) => this.key(event));
    passWheel(
      this.element,
      () => app.canvas,
      () => this.scrolls,
    );
    this.widget = addFixedWidget(node, "report", "acestep_text", this.element, () => this.height);
  }

  show(lines) {
    this.element.textContent = lines.join("\n");
    setHidden(this.widget, lines.length === 0);
    this.fit();
  }

  /** As high as the text needs, if the node below leaves that room. */
  fit() {
    const needed = this.element.textContent ? this.neededHeight() : 0;
    if (growsByItself()) return this.fitDrawn(needed);
    const before = this.height;
    this.height = 0; // so that the node's own size is measured without it
    const spare = Math.max(0, this.node.size[1] - this.node.computeSize()[1]);
    this.setTextHeight(needed, spare + this.roomBelow() - AROUND);
    if (this.height !== before) this.resizeNode();
  }

  /** Nodes 2.0 draws first; then it is seen how far the node reaches over the one below it. */
  fitDrawn(needed) {
    this.setTextHeight(needed, Infinity);
    requestAnimationFrame(() => this.setTextHeight(needed, this.height + Math.min(0, this.roomBelow())));
  }

  setTextHeight(needed, room) {
    this.height = textHeight(needed, room, MOST_HEIGHT);
    this.scrolls = this.height < needed;
    this.element.dataset.captureWheel = this.scrolls; // Nodes 2.0 lets the wheel scroll it then
    this.element.style.height = this.element.style.maxHeight = `${this.height}px`;
  }

  resizeNode() {
    const own = this.node.size[1] - this.added;
    const fitting = Math.max(own, this.node.computeSize()[1]);
    this.added = fitting - own;
    setHeight(this.node, fitting);
  }

  /** Measured beside the page's own elements: a node that is out of sight has no layout. */
  neededHeight() {
    const probe = this.element.cloneNode(true);
    const width = this.node.size[0] - SIDES;
    probe.style.cssText += `;position:absolute;visibility:hidden;height:auto;max-height:none;width:${width}px`;
    document.body.append(probe);
    const needed = probe.offsetHeight;
    probe.remove();
    return needed;
  }

  roomBelow() {
    const others = (this.node.graph?.nodes ?? []).filter((other) => other !== this.node);
    return roomBelow(boxOf(this.node), others.map(boxOf));
  }

  /** Ctrl+A marks this text alone; the graph's own keys do not act while the text has the focus. */
  key(event) {
    if (!(event.ctrlKey || event.metaKey)) return;
    if (event.key === "a") {
      event.preventDefault();
      window.getSelection().selectAllChildren(this.element);
    }
    event.stopPropagation();
  }
}

/** A node with its title; a node of Nodes 2.0 may be higher than its size says. */
function boxOf({ id, pos, size }) {
  const drawn = growsByItself() && document.querySelector(`[data-node-id="${id}"]`);
  return [pos[0], pos[1] - TITLE_HEIGHT, size[0], drawn ? drawn.offsetHeight : size[1] + TITLE_HEIGHT];
}

/** Lines on a node; no lines take an earlier text away. */
function show(node, lines) {
  const shown = lines.filter((line) => line.trim() !== "");
  if (!shown.length && !texts.has(node)) return;
  if (!texts.has(node)) texts.set(node, new NodeText(node));
  texts.get(node).show(shown);
}

/** The live text of a run goes, and with it the height that it gave the node. */
function settle(node) {
  removeLiveText(node);
  if (heights.has(node)) setHeight(node, Math.min(node.size[1], Math.max(heights.get(node), node.computeSize()[1])));
}

function settleAll() {
  for (const node of allNodes()) {
    if (heights.has(node)) settle(node);
  }
}

const hooks = resultHooks((node, output, isNew) => {
  if (isNew) settle(node);
  if (output[RESULT]) show(node, output[RESULT][0].lines);
});

app.registerExtension({
  name: "acestep-cascade.text",
  ...hooks,
  setup() {
    api.addEventListener(EVENT, ({ detail }) => {
      const node = runningNode(detail.node);
      if (node) show(node, detail.lines);
    });
    onJobEnd(() => setTimeout(settleAll)); // the front end's own listeners may take the live text away before
  },
  beforeRegisterNodeDef(nodeType, nodeData) {
    hooks.beforeRegisterNodeDef(nodeType, nodeData);
    if (!nodeData.name.startsWith("AceStep")) return;
    after(nodeType, "onExecutionStart", function () {
      heights.set(this, this.size[1]);
    });
    after(nodeType, "onResize", function () {
      if (!growsByItself()) texts.get(this)?.fit();
    });
  },
});

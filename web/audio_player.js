// A player with a drawn waveform on Save Audio: one row for each file of a batch. It stands in for core's plain player,
// which the node has as well (its AUDIO_UI input: core's own code needs that) and which is hidden here.

import { app } from "../../scripts/app.js";
import { html, passWheel } from "./elements.js";
import { nodeByLocator } from "./graph_links.js";
import { Row, ROW_HEIGHT } from "./sound_row.js";

const NODE = "AceStepSaveAudio";
const CORE_WIDGET = "audioUI";
const ROWS_SHOWN = 6; // of more a part of the next one is seen, and they scroll

const PLAYER_CSS =
  "box-sizing:border-box;display:flex;flex-direction:column;font:11px/14px system-ui,sans-serif;" +
  "color:var(--descrip-text);user-select:none;";

const players = new Map(); // node -> Player

class Player {
  constructor(node) {
    this.node = node;
    this.rows = [];
    this.element = html("div", PLAYER_CSS);
    passWheel(
      this.element,
      () => app.canvas,
      () => this.scrolls,
    );
  }

  get scrolls() {
    return this.rows.length > ROWS_SHOWN;
  }

  get height() {
    return (this.scrolls ? ROWS_SHOWN + 0.5 : this.rows.length) * ROW_HEIGHT;
  }

  /** Rows for the files of a run. `again`: made anew even if they have the same names, for they may be other music. */
  show(files, again) {
    const names = JSON.stringify(files);
    if (!files?.length || (names === this.names && !again)) return;
    this.names = names;
    this.clear();
    this.rows = files.map((file) => new Row(file));
    this.element.replaceChildren(...this.rows.map((row) => row.element));
    this.element.style.height = this.element.style.maxHeight = `${this.height}px`;
    this.element.style.overflowY = this.scrolls ? "auto" : "hidden";
    this.element.dataset.captureWheel = this.scrolls; // Nodes 2.0 lets the wheel scroll it then
    this.fit();
  }

  fit() {
    const [width, height] = this.node.size;
    this.node.setSize([width, Math.max(height, this.node.computeSize()[1])]);
    this.node.setDirtyCanvas?.(true, true);
  }

  clear() {
    for (const row of this.rows) row.remove();
    this.rows = [];
  }
}

function hideCorePlayer(node) {
  const core = node.widgets?.find((widget) => widget.name === CORE_WIDGET);
  if (!core) return;
  core.hidden = true; // the classic renderer reads this one,
  core.options.hidden = true; // Nodes 2.0 that one
  core.computeSize = () => [0, 0];
  core.element.preload = "none"; // core still gives it the first file
}

function addPlayer(node) {
  const player = new Player(node);
  const height = () => player.height;
  const options = { serialize: false, hideOnZoom: false, getMinHeight: height, getMaxHeight: height };
  const widget = node.addDOMWidget("player", "acestep_player", player.element, options);
  widget.serialize = false; // it holds no value: a saved workflow must not know of it
  players.set(node, player);
}

app.registerExtension({
  name: "acestep-cascade.player",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== NODE) return;
    const { onExecuted, onRemoved } = nodeType.prototype;
    nodeType.prototype.onExecuted = function (output) {
      onExecuted?.call(this, output);
      players.get(this)?.show(output.audio, true);
    };
    nodeType.prototype.onRemoved = function () {
      onRemoved?.call(this);
      players.get(this)?.clear();
      players.delete(this);
    };
  },
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    hideCorePlayer(node);
    addPlayer(node);
    node.setSize([node.size[0], node.computeSize()[1]]); // gives the room of core's player back
  },
  /** Outputs that are shown again: another workflow's tab, a run out of the history. */
  onNodeOutputsUpdated(outputs) {
    for (const [locator, output] of Object.entries(outputs)) {
      if (output.audio?.length) players.get(nodeByLocator(app.rootGraph ?? app.graph, locator))?.show(output.audio, false);
    }
  },
});

// A player with a drawn waveform on Save Audio: one row for each file of a batch. It stands in for core's plain player,
// which the node has as well (its AUDIO_UI input: core's own code needs that) and which is hidden here.

import { app } from "../../scripts/app.js";
import { FONT_CSS, html, passWheel } from "./elements.js";
import { addFixedWidget, after, grow, resultHooks, setHidden } from "./node_hooks.js";
import { ask } from "./server.js";
import { SoundGroup, TOOLS_HEIGHT } from "./sound_group.js";
import { Row, ROW_HEIGHT } from "./sound_row.js";
import { letterOf, takeText } from "./waveform.js";

const NODE = "AceStepSaveAudio";
const TAKES = "acestep_sound"; // of a result: seed, loudness and `keep` of each file
const CORE_WIDGET = "audioUI";
const ROWS_SHOWN = 6; // of more a part of the next one is seen, and they scroll

const PLAYER_CSS =
  `${FONT_CSS}box-sizing:border-box;display:flex;flex-direction:column;overflow:hidden;` +
  "color:var(--descrip-text);user-select:none;";

const players = new Map(); // node -> Player

class Player {
  constructor(node) {
    this.node = node;
    this.group = new SoundGroup();
    this.element = html("div", PLAYER_CSS);
    this.list = html("div", "flex:0 0 auto");
    passWheel(
      this.element,
      () => app.canvas,
      () => this.scrolls,
    );
    addFixedWidget(node, "player", "acestep_player", this.element, () => this.height);
  }

  get rows() {
    return this.group.rows;
  }

  get scrolls() {
    return this.rows.length > ROWS_SHOWN;
  }

  get listHeight() {
    return (this.scrolls ? ROWS_SHOWN + 0.5 : this.rows.length) * ROW_HEIGHT;
  }

  get height() {
    return this.rows.length ? this.listHeight + TOOLS_HEIGHT : 0;
  }

  /** Rows for the files of a run. `isNew`: made anew even if they have the same names, for they may be other music. */
  show(files, takes, isNew) {
    const names = JSON.stringify(files);
    if (!files?.length || (names === this.names && !isNew)) return;
    this.names = names;
    this.clear();
    const letters = files.length > 1 ? files.map((_, index) => letterOf(index)) : [""];
    const made = files.map((file, index) => this.row(file, letters[index], takes?.[index]));
    this.list.replaceChildren(...made.map((row) => row.element));
    this.element.replaceChildren(this.list, this.group.tools);
    this.fit();
  }

  row(file, letter, take) {
    return new Row(file, this.group, { letter, facts: takeText(take), keep: take?.keep ? () => keepFile(file) : null });
  }

  fit() {
    this.list.style.height = `${this.listHeight}px`;
    this.list.style.overflowY = this.scrolls ? "auto" : "hidden";
    this.element.style.height = this.element.style.maxHeight = `${this.height}px`;
    this.element.dataset.captureWheel = this.scrolls; // Nodes 2.0 lets the wheel scroll it then
    grow(this.node);
  }

  clear() {
    for (const row of this.rows) row.remove();
  }
}

/** Copies a preview to the output folder; the name of the file there. */
async function keepFile({ filename, subfolder }) {
  const kept = await ask("keep", { body: { filename, subfolder } });
  return [kept.subfolder, kept.filename].filter(Boolean).join("/");
}

function hideCorePlayer(node) {
  const core = node.widgets?.find((widget) => widget.name === CORE_WIDGET);
  if (!core) return;
  setHidden(core, true);
  core.computeSize = () => [0, 0];
  core.element.preload = "none"; // core still gives it the first file
}

const hooks = resultHooks((node, output, isNew) => players.get(node)?.show(output.audio, output[TAKES], isNew));

app.registerExtension({
  name: "acestep-cascade.player",
  ...hooks,
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== NODE) return;
    hooks.beforeRegisterNodeDef(nodeType, nodeData);
    after(nodeType, "onRemoved", function () {
      players.get(this)?.clear();
      players.delete(this);
    });
  },
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    hideCorePlayer(node);
    players.set(node, new Player(node));
    node.setSize([node.size[0], node.computeSize()[1]]); // gives the room of core's player back
  },
});

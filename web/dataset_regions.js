// Below LoRA Dataset: a button that opens a waveform, on which regions of one clip after another are drawn. The node's
// text `regions` holds those of all clips.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { BUTTON_CSS, FONT_CSS, html, passWheel } from "./elements.js";
import { inputIndex, isFed } from "./graph_links.js";
import { addFixedWidget, after, grow, growsByItself, onSet, setHeight } from "./node_hooks.js";
import { clipRegions, withClipRegions } from "./regions.js";
import { EDITOR_HEIGHT, RegionEditor } from "./region_editor.js";
import { beatsOf, setWidget, soundOfFile } from "./region_sound.js";
import { ask } from "./server.js";
import { valueOf, widgetOf } from "./stage_graph.js";

const NODE = "AceStepLoraDataset";
const ROW_HEIGHT = 22;
const GAP = 4;
const SETTLE_MS = 200;
const OPEN = "acestep_crops_open"; // of a node's properties, kept in its workflow

const PANEL_CSS = `${FONT_CSS}box-sizing:border-box;display:flex;flex-direction:column;gap:${GAP}px;overflow:hidden;`;
const ROW_CSS = `display:flex;align-items:center;gap:4px;flex:0 0 auto;height:${ROW_HEIGHT}px;`;
const WORD_CSS = `${BUTTON_CSS}flex:0 0 auto;height:20px;padding:0 8px;border-radius:9px;`;
const CHOICE_CSS =
  "flex:1 1 auto;min-width:0;height:20px;font:inherit;border-radius:5px;border:1px solid var(--border-color);" +
  "background:var(--comfy-input-bg);color:var(--input-text);";

const panels = new Map(); // node -> Panel

class Panel {
  clips = [];

  constructor(node) {
    this.node = node;
    this.button = html("button", WORD_CSS, { type: "button", textContent: "crop clips" });
    this.button.title = "Draw the parts of clips that are trained on";
    this.button.addEventListener("click", () => this.toggle());
    this.choice = html("select", CHOICE_CSS, { title: "The clip; * has regions" });
    this.choice.addEventListener("change", () => this.showClip());
    for (const kind of ["pointerdown", "keydown", "wheel"]) {
      this.choice.addEventListener(kind, (event) => event.stopPropagation());
    }
    const row = html("div", ROW_CSS);
    row.append(this.button, this.choice);
    this.element = html("div", PANEL_CSS);
    this.element.append(row);
    addFixedWidget(node, "crops", "acestep_crops", this.element, () => this.height);
    passWheel(
      this.element,
      () => app.canvas,
      () => Boolean(this.editor?.hasFocus),
    );
    this.fit();
  }

  get isOpen() {
    return Boolean(this.node.properties[OPEN]);
  }

  get height() {
    return this.isOpen ? ROW_HEIGHT + GAP + EDITOR_HEIGHT : ROW_HEIGHT;
  }

  toggle() {
    const without = this.node.size[1] - this.height;
    this.node.properties[OPEN] = !this.isOpen;
    this.fit();
    if (!growsByItself()) setHeight(this.node, Math.max(this.node.computeSize()[1], without + this.height));
    this.refreshSoon();
  }

  /** The element as high as what it shows. The editor is made when it is opened first. */
  fit() {
    this.choice.style.display = this.isOpen ? "" : "none";
    if (this.isOpen && !this.editor) this.build();
    if (this.editor) this.editor.element.style.display = this.isOpen ? "flex" : "none";
    this.element.style.height = this.element.style.maxHeight = `${this.height}px`;
    grow(this.node);
  }

  build() {
    this.editor = new RegionEditor({
      change: (text) => this.keep(text),
      snap: (snap) => this.editor.set({ snap }),
      file: () => {},
    });
    this.element.append(this.editor.element);
  }

  refreshSoon() {
    clearTimeout(this.settle);
    this.settle = setTimeout(() => this.refresh(), SETTLE_MS);
  }

  async refresh() {
    this.fit();
    if (!this.isOpen) return;
    const asked = new URLSearchParams({
      clips: valueOf(this.node, "clips") ?? "",
      folder: valueOf(this.node, "clips.folder") ?? "",
    });
    if (String(asked) !== this.asked) await this.list(String(asked));
    this.showClip();
  }

  async list(asked) {
    this.asked = asked;
    const answer = await ask(`clips?${asked}`).catch((error) => ({ clips: [], error: error.message }));
    if (asked !== this.asked) return;
    if (answer.error) this.asked = null; // it is asked again with the next change
    this.clips = answer.clips;
    this.why = answer.error ?? "no clips are there yet";
    const before = this.choice.value;
    this.choice.replaceChildren(...this.clips.map(({ name }) => html("option", "", { value: name })));
    if (this.clips.some(({ name }) => name === before)) this.choice.value = before;
  }

  get text() {
    return String(valueOf(this.node, "regions") ?? "");
  }

  showClip() {
    const all = clipRegions(this.text);
    for (const option of this.choice.options) {
      option.textContent = all.has(option.value) ? `* ${option.value}` : option.value;
    }
    const clip = this.clips.find(({ name }) => name === this.choice.value);
    if (clip?.name !== this.shown) this.editor.forget(); // undo stays with its clip
    this.shown = clip?.name;
    this.editor.set({ readOnly: isFed(this.node, inputIndex(this.node, "regions")) });
    this.editor.setText(all.get(clip?.name) ?? "");
    this.editor.setSound(clip ? soundOfFile(clip) : null, this.why);
    if (clip?.name !== this.measured) this.measure(clip);
  }

  async measure(clip) {
    this.measured = clip?.name;
    this.editor.setBeats(null);
    const beats = clip ? await beatsOf(clip) : null;
    if (clip?.name === this.measured) this.editor.setBeats(beats);
  }

  keep(text) {
    setWidget(this.node, "regions", withClipRegions(this.text, this.shown, text));
  }

  remove() {
    clearTimeout(this.settle);
    this.editor?.remove();
  }
}

const refreshAll = () => panels.forEach((panel) => panel.refreshSoon());

app.registerExtension({
  name: "acestep-cascade.crops",
  setup() {
    api.addEventListener("graphChanged", refreshAll);
    // Clips may have been made by the run.
    api.addEventListener("execution_success", () =>
      panels.forEach((panel) => ((panel.asked = null), panel.refreshSoon())),
    );
  },
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== NODE) return;
    after(nodeType, "onConfigure", function () {
      panels.get(this)?.refreshSoon();
    });
    after(nodeType, "onRemoved", function () {
      panels.get(this)?.remove();
      panels.delete(this);
    });
  },
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    panels.set(node, new Panel(node));
    for (const name of ["clips", "regions"]) onSet(widgetOf(node, name), () => panels.get(node)?.refreshSoon());
  },
});

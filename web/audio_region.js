// The waveform on Audio Region. Its sound is the file of a Load Audio that is connected, or the node's own file, and is
// seen before anything runs; that of other nodes is seen after a run.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { passWheel } from "./elements.js";
import { asleep, inputIndex, isFed, source } from "./graph_links.js";
import { addFixedWidget, after, grow, onSet, resultHooks, setHidden, setHeight } from "./node_hooks.js";
import { EDITOR_HEIGHT, RegionEditor } from "./region_editor.js";
import { SNAPS } from "./region_controls.js";
import { beatsOf, query, setWidget, soundOfFile } from "./region_sound.js";
import { valueOf, widgetOf } from "./stage_graph.js";
import { chooseFile, takeDrops, upload } from "./uploads.js";

const NODE = "AceStepAudioRegion";
const RESULT = "acestep_region";
const NO_FILE = "none";
const WIDTH = 440;
const SETTLE_MS = 150;
const MEDIA = /^(audio|video)\//;
// Kept with the node in a workflow: the file of its last run and the output that it came from, and what edges snap to.
const [LAST_RUN, SNAP] = ["acestep_last_run", "acestep_snap"];

const panels = new Map(); // node -> Panel

/** "sub/song.flac [output]", as core writes names of files -> {filename, subfolder, type}. */
export function fileOf(name) {
  const [, path, type = "input"] = /^(.*?)(?: \[(input|output|temp)\])?$/.exec(name);
  const parts = path.split("/");
  return { filename: parts.at(-1), subfolder: parts.slice(0, -1).join("/"), type };
}

class Panel {
  constructor(node) {
    this.node = node;
    this.editor = new RegionEditor({
      change: (text) => setWidget(node, "regions", text),
      snap: (snap) => (node.properties[SNAP] = snap),
      file: () => chooseFile("audio/*,video/*", (file) => this.upload(file)),
    });
    addFixedWidget(node, "waveform", "acestep_regions", this.editor.element, () => EDITOR_HEIGHT);
    passWheel(
      this.editor.element,
      () => app.canvas,
      () => this.editor.hasFocus,
    );
  }

  refreshSoon() {
    clearTimeout(this.settle);
    this.settle = setTimeout(() => this.refresh(), SETTLE_MS);
  }

  refresh() {
    const { node, editor } = this;
    const isLinked = isFed(node, inputIndex(node, "audio"));
    const saved = node.properties[SNAP];
    editor.set({
      snap: SNAPS.includes(saved) ? saved : SNAPS[0],
      readOnly: isFed(node, inputIndex(node, "regions")),
      takesFiles: !isLinked,
    });
    editor.setText(String(valueOf(node, "regions") ?? ""));
    const { file, hint } = soundOf(node);
    editor.setSound(file && soundOfFile(file), hint);
    this.askBeats(file);
    showFileWidget(node, !isLinked);
  }

  async askBeats(file) {
    const known = {
      bpm: valueOf(this.node, "bpm") ?? 0,
      time_signature: valueOf(this.node, "time_signature") ?? "auto",
    };
    const asked = file ? query({ ...file, ...known }) : "";
    if (asked === this.askedBeats) return;
    this.askedBeats = asked;
    const beats = file ? await beatsOf(file, known) : null;
    if (asked === this.askedBeats) this.editor.setBeats(beats);
  }

  async upload(file) {
    await upload(this.node, "file", file).catch(({ message }) => this.editor.warn(`${file.name}: ${message}`));
  }

  remove() {
    clearTimeout(this.settle);
    this.askedBeats = null;
    this.editor.remove();
  }
}

// ---- the sound ----

/** {file} of the sound that a run will have, or {hint}, why it is not known. */
function soundOf(node) {
  const slot = inputIndex(node, "audio");
  if (!isFed(node, slot)) {
    const name = valueOf(node, "file");
    return name && name !== NO_FILE ? { file: fileOf(name) } : { hint: "connect sound, or drop a sound file here" };
  }
  const end = source(node, slot);
  const loaded = end?.node.comfyClass === "LoadAudio" && !asleep(end.node) && valueOf(end.node, "audio");
  if (loaded) return { file: fileOf(loaded) };
  const last = node.properties[LAST_RUN];
  return last?.from === giverOf(node) ? { file: last.file } : { hint: "press Run to see the sound" };
}

/** The output that the sound comes from, as a text. */
function giverOf(node) {
  const end = source(node, inputIndex(node, "audio"));
  return end ? `${end.node.id}/${end.slot}` : "";
}

// ---- widgets ----

/** The widget `file` where it has a use. */
function showFileWidget(node, isShown) {
  const widget = widgetOf(node, "file");
  if (!widget || Boolean(widget.hidden) === !isShown) return;
  const isSnug = node.size[1] <= node.computeSize()[1] + 1;
  setHidden(widget, !isShown);
  if (isSnug) setHeight(node, node.computeSize()[1]);
  grow(node);
}

// ---- hooks ----

const refreshAll = () => panels.forEach((panel) => panel.refreshSoon());

const hooks = resultHooks((node, output) => {
  const [file] = output[RESULT] ?? [];
  if (!file || !panels.has(node)) return;
  node.properties[LAST_RUN] = { file, from: giverOf(node) };
  panels.get(node).refreshSoon();
});

app.registerExtension({
  name: "acestep-cascade.regions",
  ...hooks,
  setup() {
    api.addEventListener("graphChanged", refreshAll);
  },
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== NODE) return;
    hooks.beforeRegisterNodeDef(nodeType, nodeData);
    for (const method of ["onConfigure", "onConnectionsChange"]) {
      after(nodeType, method, function () {
        panels.get(this)?.refreshSoon();
      });
    }
    after(nodeType, "onRemoved", function () {
      panels.get(this)?.remove();
      panels.delete(this);
    });
  },
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    panels.set(node, new Panel(node));
    takeDrops(node, {
      fits: ({ type }) => MEDIA.test(type),
      isFree: () => !isFed(node, inputIndex(node, "audio")),
      take: (file) => panels.get(node)?.upload(file),
    });
    for (const widget of node.widgets) onSet(widget, () => panels.get(node)?.refreshSoon());
    node.setSize([Math.max(WIDTH, node.size[0]), node.computeSize()[1]]);
    panels.get(node).refreshSoon();
  },
  afterConfigureGraph: refreshAll,
});

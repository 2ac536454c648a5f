// Below the lyrics of a Song: buttons that insert a section at the cursor, and a count of the lyrics' tokens, of which
// the models read 2,048. Where the server cannot count, nothing stands there.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { BUTTON_CSS, FONT_CSS, html, legible, passWheel, WARNING } from "./elements.js";
import { inputIndex, isFed, targets } from "./graph_links.js";
import { counterText, SECTIONS, sectionInsertion } from "./lyrics_text.js";
import { addFixedWidget, after, onSet } from "./node_hooks.js";
import { ask } from "./server.js";
import { isEdit, loaderOf, valueOf, widgetOf } from "./stage_graph.js";

const NODE = "AceStepSong";
const HEIGHT = 40;
const SETTLE_MS = 500; // after the last key
const LOADERS = ["AceStepLoadCascade", "AceStepLoadTextEncoder"]; // both have a widget text_encoder
const COUNTED = ["caption", "lyrics", "language", "bpm", "key", "time_signature", "seconds"];

const TOOLS_CSS =
  `box-sizing:border-box;height:${HEIGHT}px;display:flex;flex-direction:column;justify-content:space-between;` +
  `${FONT_CSS}color:var(--descrip-text);overflow:hidden;user-select:none;`;
const BUTTONS_CSS = "display:flex;gap:3px;flex:0 0 auto";
const SECTION_CSS =
  `${BUTTON_CSS}flex:0 1 auto;min-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;` +
  "padding:1px 5px;border-radius:9px;";
const COUNT_CSS =
  "text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;overflow:hidden;text-overflow:ellipsis";

const tools = new Map(); // node -> LyricsTools

class LyricsTools {
  constructor(node) {
    this.node = node;
    this.buttons = html("div", BUTTONS_CSS);
    this.buttons.append(...SECTIONS.map((section) => this.button(section)));
    this.counter = html("div", COUNT_CSS);
    this.element = html("div", TOOLS_CSS);
    this.element.append(this.buttons, this.counter);
    addFixedWidget(node, "sections", "acestep_lyrics", this.element, () => HEIGHT);
    passWheel(this.element, () => app.canvas);
  }

  button(section) {
    const title = `Insert [${section}] into the lyrics, at the cursor`;
    const button = html("button", SECTION_CSS, { type: "button", textContent: section, title });
    button.addEventListener("pointerdown", (event) => event.preventDefault()); // the cursor stays in the lyrics
    button.addEventListener("click", () => insert(this.node, section));
    return button;
  }

  countSoon() {
    clearTimeout(this.settle);
    this.settle = setTimeout(() => this.count(), SETTLE_MS);
  }

  async count() {
    const isOurs = !isFed(this.node, inputIndex(this.node, "lyrics"));
    for (const button of this.buttons.children) button.disabled = !isOurs;
    const body = questionOf(this.node);
    const asked = JSON.stringify(body);
    if (asked === this.asked) return;
    this.asked = asked;
    const counted = body.lyrics === undefined ? null : await ask("tokens", { body }).catch(() => null);
    if (asked === this.asked) this.show(counted && counterText(counted));
  }

  show(count) {
    this.counter.textContent = count?.text ?? "";
    this.counter.style.color = count?.tooLong ? legible(WARNING) : "";
    this.counter.title = count?.tooLong ? "Tokens over the limit are cut off" : "";
  }

  remove() {
    clearTimeout(this.settle);
    this.asked = null;
  }
}

const handsSongOn = (node) => isEdit(node) || node.comfyClass === "AceStepPlayScore";

/** The song as far as its widgets say, and the text encoder that reads it as far as the graph says. */
function questionOf(node) {
  const song = Object.fromEntries(COUNTED.map((name) => [name, valueOf(node, name)]));
  const [reader] = targets(node, 0, handsSongOn).filter((end) => end.node.comfyClass === "AceStepTextEncode");
  const loader = reader && loaderOf(reader.node, "text_encoder", (one) => LOADERS.includes(one.comfyClass));
  if (!loader) return song;
  return { ...song, text_encoder: valueOf(loader.node, "text_encoder"), model: valueOf(loader.node, "l") };
}

function insert(node, section) {
  const widget = widgetOf(node, "lyrics");
  const box = textBoxOf(node, widget);
  const [start, end] = box ? [box.selectionStart, box.selectionEnd] : Array(2).fill(widget.value.length);
  const { from, to, text } = sectionInsertion(widget.value, start, end, section);
  if (!box) {
    widget.value = widget.value.slice(0, from) + text + widget.value.slice(to);
    return;
  }
  box.focus();
  box.setRangeText(text, from, to, "end");
  box.dispatchEvent(new Event("input", { bubbles: true })); // both renderers listen
}

/** The text box of a widget: its own in the classic renderer, one inside the node's element in Nodes 2.0. */
function textBoxOf(node, widget) {
  const boxes = [widget.element, ...document.querySelectorAll(`[data-node-id="${node.id}"] textarea`)];
  return boxes.findLast((box) => box?.isConnected && box.value === widget.value);
}

app.registerExtension({
  name: "acestep-cascade.lyrics",
  setup() {
    api.addEventListener("graphChanged", () => tools.forEach((one) => one.countSoon()));
  },
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== NODE) return;
    after(nodeType, "onConfigure", function () {
      tools.get(this)?.countSoon();
    });
    after(nodeType, "onRemoved", function () {
      tools.get(this)?.remove();
      tools.delete(this);
    });
  },
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    tools.set(node, new LyricsTools(node));
    for (const name of ["caption", "lyrics"]) {
      onSet(widgetOf(node, name), () => tools.get(node)?.countSoon());
    }
    tools.get(node).countSoon();
  },
});

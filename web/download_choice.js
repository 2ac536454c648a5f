// A known model that is not here is downloaded on Run only if a user of this ComfyUI has chosen it; a workflow that
// names it is not enough. Choosing "(download, ...)" on a loader says so to the server; for a choice that a workflow
// brought along a button stands on the node.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { BUTTON_CSS, FONT_CSS, html, passWheel, WARNING } from "./elements.js";
import { inputIndex, isFed } from "./graph_links.js";
import { addFixedWidget, after, grow, onSet, setHidden } from "./node_hooks.js";
import { ask } from "./server.js";
import { valueOf, widgetOf } from "./stage_graph.js";

const LOADERS = {
  AceStepLoadCascade: ["l", "m", "s", "text_encoder", "vocoder"],
  AceStepLoadStageModel: ["model"],
  AceStepLoadTextEncoder: ["text_encoder"],
  AceStepLoadVocoder: ["vocoder"],
  AceStepLoadPlanner: ["planner"],
};
const MARK = / \(download, [\d.]+( \+ [\d.]+)? [GM]B\)$/;
const SETTLE_MS = 300;
const ROW_HEIGHT = 22;

const LIST_CSS = `${FONT_CSS}display:flex;flex-direction:column;gap:2px;overflow:hidden`;
const ALLOW_CSS =
  `${BUTTON_CSS}flex:0 0 20px;padding:0 8px;border-radius:5px;border-color:${WARNING};text-align:left;` +
  "overflow:hidden;text-overflow:ellipsis;white-space:nowrap;";

const offers = new Map(); // loader node -> Offer

const plain = (choice) => String(choice).replace(MARK, "");

/** The buttons of one loader: one for each of its models that is absent and not allowed yet. */
class Offer {
  constructor(node) {
    this.node = node;
    this.element = html("div", LIST_CSS);
    this.widget = addFixedWidget(node, "downloads", "acestep_downloads", this.element, () => this.height);
    setHidden(this.widget, true);
    passWheel(this.element, () => app.canvas);
  }

  get height() {
    return this.element.children.length * ROW_HEIGHT;
  }

  show({ allowed, absent, in_cascade }) {
    const sizes = this.node.comfyClass === "AceStepLoadCascade" ? in_cascade : absent;
    const chosen = LOADERS[this.node.comfyClass].map((name) => plain(valueOf(this.node, name)));
    const names = [...new Set(chosen)].filter((name) => name in absent && !allowed.includes(name));
    const offered = names.map((name) => `${name} ${sizes[name]}`).join();
    if (offered === this.offered) return;
    this.offered = offered;
    this.element.replaceChildren(...names.map((name) => this.button(name, sizes[name])));
    this.element.style.height = this.element.style.maxHeight = `${this.height}px`;
    setHidden(this.widget, names.length === 0);
    if (names.length) grow(this.node);
  }

  button(name, size) {
    const textContent = `allow download of ${name} (${size})`;
    const title = `${name} is not here. Run downloads ${size} if you allow it.`;
    const button = html("button", ALLOW_CSS, { type: "button", textContent, title });
    button.addEventListener("click", () => allow(name));
    return button;
  }
}

/** Says to the server that a user wants a model to be downloaded. */
async function allow(choice) {
  await ask("download", { body: { choice } }).catch((error) => console.error(`acestep-cascade: ${error.message}`));
  refreshSoon();
}

let settle = null;

function refreshSoon() {
  if (!offers.size) return;
  clearTimeout(settle);
  settle = setTimeout(refresh, SETTLE_MS);
}

async function refresh() {
  const state = await ask("download").catch(() => null);
  if (state) offers.forEach((offer) => offer.show(state));
}

/** A user's own choice only: a primitive, which a workflow may bring along, sets a widget that a link leads to. */
function watchChoice(node, name) {
  const widget = widgetOf(node, name);
  if (!widget) return;
  onSet(widget, (value) => {
    if (MARK.test(value) && !isFed(node, inputIndex(node, name))) allow(value);
    else refreshSoon();
  });
}

app.registerExtension({
  name: "acestep-cascade.downloads",
  setup() {
    api.addEventListener("execution_success", refreshSoon);
    api.addEventListener("execution_error", refreshSoon);
  },
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!(nodeData.name in LOADERS)) return;
    after(nodeType, "onConfigure", refreshSoon);
    after(nodeType, "onRemoved", function () {
      offers.delete(this);
    });
  },
  nodeCreated(node) {
    if (!(node.comfyClass in LOADERS)) return;
    offers.set(node, new Offer(node));
    LOADERS[node.comfyClass].forEach((name) => watchChoice(node, name));
    refreshSoon();
  },
  refreshComboInNodes: refreshSoon,
});

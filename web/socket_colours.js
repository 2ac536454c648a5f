// Colours of the pack's own sockets and of their wires. A colour palette of the user's that names one of the types
// wins.

import { app } from "../../scripts/app.js";
import { html } from "./elements.js";

// Bright enough on a dark canvas, dark enough on a light one. Types that stand where core has one of its own take a
// neighbouring colour: model violet, text encoder yellow, vocoder (a VAE) red, text (a conditioning) orange.
const COLOURS = {
  ACESTEP_MODEL: "#9a7bea",
  ACESTEP_TEXT_ENCODER: "#c9a400",
  ACESTEP_VOCODER: "#e5635f",
  ACESTEP_SONG: "#2bae95",
  ACESTEP_TEXT: "#e68a2e",
  ACESTEP_REFERENCE: "#4f8df5",
  ACESTEP_ADAPTER: "#67a83a",
  ACESTEP_DATASET: "#d35fa3",
  ACESTEP_REGIONS: "#3aa6b9",
  ACESTEP_PLANNER: "#b08d57",
};

/** `colours[type]` is ours unless a palette sets one. Palettes set every type, those that they do not know to "". */
function prefer(colours, type, ours) {
  let chosen = colours[type];
  const property = { get: () => chosen || ours, set: (colour) => (chosen = colour) };
  Object.defineProperty(colours, type, { ...property, enumerable: true, configurable: true });
}

function paintCanvas() {
  for (const [type, colour] of Object.entries(COLOURS)) {
    prefer(app.canvas.constructor.link_type_colors, type, colour); // wires
    prefer(app.canvas.default_connection_color_byType, type, colour); // sockets
  }
}

/** Sockets of Nodes 2.0. Palettes set these properties on the root element itself, where they win over a rule. */
function paintPage() {
  const rules = Object.entries(COLOURS).map(([type, colour]) => `--color-datatype-${type}:${colour};`);
  document.head.append(html("style", "", { textContent: `:root{${rules.join("")}}` }));
}

app.registerExtension({
  name: "acestep-cascade.sockets",
  setup() {
    paintCanvas();
    paintPage();
  },
});

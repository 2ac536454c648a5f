// Files of this computer for a widget of a node, chosen or dropped on it: they go into ComfyUI's input folder, as those
// of core's own upload widgets do.

import { api } from "../../scripts/api.js";
import { html } from "./elements.js";
import { setWidget } from "./region_sound.js";
import { widgetOf } from "./stage_graph.js";

/** Lets the user choose a file. `accept`: kinds of files, as an input element takes them. */
export function chooseFile(accept, then) {
  const input = html("input", "", { type: "file", accept });
  input.addEventListener("change", () => input.files[0] && then(input.files[0]));
  input.click();
}

/** Uploads a file and sets a widget to its name. Throws an Error where the server does not take it. */
export async function upload(node, widgetName, file) {
  const name = await uploaded(file);
  const { values } = widgetOf(node, widgetName).options;
  if (!values.includes(name)) values.push(name);
  setWidget(node, widgetName, name);
}

/** Its name in the input folder. */
async function uploaded(file) {
  const body = new FormData();
  body.append("image", file); // of whatever kind
  const response = await api.fetchApi("/upload/image", { method: "POST", body });
  if (!response.ok) throw new Error(`the server answered ${response.status} ${response.statusText}`);
  const { name, subfolder } = await response.json();
  return subfolder ? `${subfolder}/${name}` : name;
}

/** Files that `fits` can be dropped on the node while it `isFree`. */
export function takeDrops(node, { fits, isFree, take }) {
  node.onDragOver = (event) => isFree() && [...(event.dataTransfer?.items ?? [])].some(({ kind }) => kind === "file");
  node.onDragDrop = (event) => {
    const file = isFree() && [...(event.dataTransfer?.files ?? [])].find(fits);
    if (file) take(file);
    return Boolean(file);
  };
}

// What an editor of regions is given on a node of ComfyUI's: the sound of a file in one of its folders, and its beats.

import { app } from "../../scripts/app.js";
import { ask } from "./server.js";
import { fileUrl } from "./sound_row.js";
import { widgetOf } from "./stage_graph.js";

export function query(values) {
  return new URLSearchParams(values).toString();
}

/** The sound of a file {filename, subfolder, type}. */
export function soundOfFile({ filename, subfolder, type }) {
  const file = { filename, subfolder, type };
  const name = type === "temp" ? "the sound that came in" : filename;
  const peaks = (start, end, columns, signal) => ask(`peaks?${query({ ...file, start, end, columns })}`, { signal });
  return { key: JSON.stringify(file), name, url: fileUrl(file), peaks };
}

/** The beats of a file {beat, first, in_bar}, null where its tempo is not known. */
export async function beatsOf({ filename, subfolder, type }, known = { bpm: 0, time_signature: "auto" }) {
  const beats = await ask(`beats?${query({ filename, subfolder, type, ...known })}`).catch(() => null);
  return beats?.beat ? beats : null;
}

/** Sets a widget as a user does: ComfyUI's own undo and "unsaved" know of it. */
export function setWidget(node, name, value) {
  const widget = widgetOf(node, name);
  app.canvas.emitBeforeChange?.();
  widget.value = value;
  widget.callback?.(value);
  node.setDirtyCanvas?.(true, true);
  app.canvas.emitAfterChange?.();
}

// Modules of regions, loaded as ComfyUI's page does: the address at which the pack serves shared scripts is their folder.
import { register } from "node:module";

const SHARED = new URL("../../acestep_core/server/page/shared/", import.meta.url).href;
const hook = `
  const place = /.*\\/acestep-cascade\\/shared\\//;
  export const resolve = (name, context, next) => next(name.replace(place, ${JSON.stringify(SHARED)}), context);
`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);

export const regions = await import("../../web/regions.js");
export const { RegionEditor } = await import("../../web/region_editor.js");
export const { Gestures } = await import("../../web/region_gestures.js");

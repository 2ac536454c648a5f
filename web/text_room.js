// How high a text on a node may be so that the node does not grow over the one below it. Numbers only, nothing of
// ComfyUI and nothing of the page. A box is [left, top, width, height] in the graph's units.

const GAP = 24; // kept free between two nodes; badges stand above a title
const LEAST_HEIGHT = 34; // two lines; a node that stands closer than that is covered

/**
 * Free height below a box, down to the nearest of the others that lies below it; Infinity if none does, and less than 0
 * where one is covered.
 */
export function roomBelow([left, top, width, height], others) {
  const bottom = top + height;
  const below = others.filter(([x, y, across]) => x < left + width && x + across > left && y >= top + height / 2);
  return Math.min(...below.map(([, y]) => y - bottom - GAP));
}

/** The height of a text that needs `needed`: as much as there is room for, then it scrolls. 0 where there is none. */
export function textHeight(needed, room, most) {
  return Math.min(needed, Math.max(LEAST_HEIGHT, Math.min(room, most)));
}

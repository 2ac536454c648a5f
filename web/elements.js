// Makes elements of a page, in one style; used by what draws on nodes.

export const FONT_CSS = "font:11px/14px system-ui,sans-serif;";
export const BUTTON_CSS =
  "box-sizing:border-box;cursor:pointer;font:inherit;border:1px solid var(--border-color);" +
  "background:var(--comfy-input-bg);color:var(--input-text);";
export const ACCENT = "#4f8df5";
export const WARNING = "#f0a01e";

/** A colour for text, on dark and on light. */
export const legible = (colour) => `color-mix(in srgb, ${colour} 65%, var(--input-text))`;

/** An HTML element with its style as text and with properties. */
export function html(tag, css, properties = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  element.style.cssText = css;
  return element;
}

/** An SVG element with attributes and children. */
export function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * Lets the wheel zoom the graph over an element that lies on it, as it does over the rest of a node, unless `keeps()`.
 * Nodes 2.0 sees to that itself.
 */
export function passWheel(element, canvas, keeps = () => false) {
  const zoom = (event) => !window.LiteGraph?.vueNodesMode && !keeps() && canvas().processMouseWheel(event);
  element.addEventListener("wheel", zoom, { passive: false });
}

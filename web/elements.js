// Makes elements of a page; used by what draws on nodes.

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

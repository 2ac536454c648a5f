// Hooks that several of the pack's scripts share: after a method of a node type, with the results of a run, and the
// size of a node and of its widgets.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { nodeByLocator, nodeByPath } from "./graph_links.js";

const LIVE_TEXT = "$$node-text-preview"; // core's widget of progress text

export const rootGraph = () => app.rootGraph ?? app.graph;

/** The node that an execution id of the server's names, or null. */
export const runningNode = (path) => nodeByPath(rootGraph(), path);

/** The nodes of the workflow, those inside subgraphs as well. */
export function allNodes() {
  const graphs = [rootGraph(), ...(rootGraph()?.subgraphs?.values() ?? [])];
  return graphs.flatMap((graph) => graph?.nodes ?? []);
}

/** Calls `then` with the node as `this` after a method of a node type, whether the type has one or not. */
export function after(nodeType, method, then) {
  const before = nodeType.prototype[method];
  nodeType.prototype[method] = function (...given) {
    const result = before?.apply(this, given);
    then.apply(this, given);
    return result;
  };
}

/** Calls `then` with the value whenever a widget is set by a user or a script, not when a workflow is loaded. */
export function onSet(widget, then) {
  const { callback } = widget;
  widget.callback = function (...given) {
    const result = callback?.apply(this, given);
    then(...given);
    return result;
  };
}

/** Calls `then` when a job has ended, whether well or not. */
export function onJobEnd(then) {
  for (const end of ["execution_success", "execution_error", "execution_interrupted"]) api.addEventListener(end, then);
}

/**
 * Hooks of an extension that shows results: `show(node, output, isNew)` is called after a run of one of the pack's
 * nodes, and when outputs come back: another workflow's tab, a run of the history.
 */
export function resultHooks(show) {
  return {
    beforeRegisterNodeDef(nodeType, { name }) {
      if (!name.startsWith("AceStep")) return;
      after(nodeType, "onExecuted", function (output) {
        show(this, output ?? {}, true);
      });
    },
    onNodeOutputsUpdated(outputs) {
      for (const [locator, output] of Object.entries(outputs)) {
        const node = nodeByLocator(rootGraph(), locator);
        if (node && output) show(node, output, false);
      }
    },
  };
}

const MARGIN = 10; // at the sides and above
export const AROUND = MARGIN + 6; // of a widget's height, what is free above and below the element

/**
 * A DOM widget whose element is `height()` high, which may change. It holds no value: a saved workflow does not know of
 * it.
 */
export function addFixedWidget(node, name, type, element, height) {
  const place = () => (height() > 0 ? height() + AROUND : 0);
  const options = { serialize: false, hideOnZoom: false, margin: MARGIN, getMinHeight: place, getMaxHeight: place };
  const widget = node.addDOMWidget(name, type, element, options);
  widget.serialize = false;
  return widget;
}

/** Whether the nodes are those of Nodes 2.0, which are as high as their content. */
export const growsByItself = () => Boolean(window.LiteGraph?.vueNodesMode);

/** The height of a node; in Nodes 2.0 it is left alone. */
export function setHeight(node, height) {
  if (!growsByItself()) node.setSize([node.size[0], height]);
  node.setDirtyCanvas?.(true, true);
}

/** Makes a node high enough for its widgets; a node is never made smaller than a user has drawn it. */
export function grow(node) {
  setHeight(node, Math.max(node.size[1], node.computeSize()[1]));
}

/** Hides or shows a widget in both renderers; its value stays. */
export function setHidden(widget, hidden) {
  // Nodes 2.0 reads the options, and draws anew only if they are set through its own reactive copy, and there first.
  const options = widget._state?.options ?? widget.options;
  options.hidden = hidden;
  widget.options.hidden = hidden;
  widget.hidden = hidden; // the classic renderer
}

/** Takes away the progress text of a job that has ended; the older front end leaves it on the node. */
export function removeLiveText(node) {
  const live = node.widgets?.find((widget) => widget.name === LIVE_TEXT);
  if (live) node.removeWidget(live);
}

// Follows the links of a LiteGraph graph to the node that gives or takes a value: through reroutes, bypassed nodes and
// the borders of subgraphs. An end is {node, slot}. Reads graph objects only, so that it can be tested without a page.
//
// Links are found in graph.links alone: `input.link` and `output.links` are deprecated, and the getInputLink of a
// subgraph's node means something else (it leads to what feeds an output, inside).

const BYPASSED = 4; // LiteGraph's node modes
const ASLEEP = { 2: "muted", [BYPASSED]: "bypassed" };
const SUBGRAPH_INPUTS = -10; // ids of the two border nodes inside a subgraph
const SUBGRAPH_OUTPUTS = -20;

/** The output that feeds an input, or null. `passes(node)` names further nodes that hand a value on as it is. */
export function source(node, slot, passes = () => false) {
  const seen = new Set();
  let end = giver(node, slot);
  while (end && !seen.has(key(end))) {
    seen.add(key(end));
    if (!isPassage(end.node, passes)) return end;
    end = giver(end.node, passedInput(end.node, end.slot));
  }
  return null;
}

/** The inputs that an output feeds, in the order of the links. */
export function targets(node, slot, passes = () => false, seen = new Set()) {
  return takers(node, slot).flatMap((end) => {
    if (!isPassage(end.node, passes)) return [end];
    if (seen.has(key(end))) return [];
    seen.add(key(end));
    const outputs = [...(end.node.outputs ?? []).keys()];
    const passed = outputs.filter((output) => passedInput(end.node, output) === end.slot);
    return passed.flatMap((output) => targets(end.node, output, passes, seen));
  });
}

/** The input that sets an input's value: where a subgraph's border feeds it, the one outside on the subgraph's node. */
export function outermost(node, slot) {
  const link = linkInto(node, slot);
  const around = link && isId(link.origin_id, SUBGRAPH_INPUTS) ? instanceOf(node.graph) : null;
  return around ? outermost(around, link.origin_slot) : { node, slot };
}

/** Whether a link leads into an input. */
export function isFed(node, slot) {
  return linkInto(node, slot) !== null;
}

/** Index of an input by name; -1 if there is none. */
export function inputIndex(node, name) {
  return node.inputs?.findIndex((input) => input.name === name) ?? -1;
}

/** "muted" or "bypassed" where a node, or a subgraph's node around it, is; else undefined. */
export function asleep(node) {
  if (!node || node.mode in ASLEEP) return ASLEEP[node?.mode];
  return node.graph && asleep(instanceOf(node.graph));
}

/** The node that an execution id such as "21:105" (a path through subgraphs) names. */
export function nodeByPath(rootGraph, path) {
  let graph = rootGraph;
  let node = null;
  for (const id of String(path).split(":")) {
    node = nodeById(graph, id);
    graph = node?.subgraph;
  }
  return node ?? null;
}

/** The node that results name: "9", or "id of a subgraph:9". */
export function nodeByLocator(rootGraph, locator) {
  const parts = String(locator).split(":");
  const graph = parts.length > 1 ? rootGraph?.subgraphs?.get(parts[0]) : rootGraph;
  return nodeById(graph, parts.at(-1));
}

function nodeById(graph, id) {
  return graph?.getNodeById(id) ?? graph?.getNodeById(Number(id)) ?? null;
}

const key = ({ node, slot }) => `${node.graph?.id ?? ""}/${node.id}/${slot}`;

function isPassage(node, passes) {
  return node.type === "Reroute" || node.mode === BYPASSED || passes(node);
}

/** The input that a passage gives out at an output: the one at the same place if its type fits, else the first. */
function passedInput(node, output) {
  const type = node.outputs?.[output]?.type;
  const fits = (input) => input && (input.type === type || input.type === "*" || type === "*");
  return fits(node.inputs?.[output]) ? output : (node.inputs?.findIndex(fits) ?? -1);
}

const isId = (id, other) => String(id) === String(other); // numbers in one front end, strings in another

/** Links of a graph by the node and slot at one of their ends: "origin" or "target". */
function linksWhere(graph, end, id, slot) {
  const all = [...(graph?.links?.values() ?? [])];
  return all.filter((link) => isId(link[`${end}_id`], id) && link[`${end}_slot`] === slot);
}

function linkInto(node, slot) {
  return linksWhere(node?.graph, "target", node?.id, slot)[0] ?? null;
}

function giver(node, slot) {
  const link = linkInto(node, slot);
  return link && giverOf(node.graph, link);
}

function giverOf(graph, link) {
  if (isId(link.origin_id, SUBGRAPH_INPUTS)) {
    const around = instanceOf(graph);
    return around && giver(around, link.origin_slot);
  }
  const node = nodeById(graph, link.origin_id);
  if (!isOpen(node)) return node && { node, slot: link.origin_slot };
  const [inner] = linksWhere(node.subgraph, "target", SUBGRAPH_OUTPUTS, link.origin_slot);
  return inner ? giverOf(node.subgraph, inner) : null;
}

function takers(node, slot) {
  return linksWhere(node.graph, "origin", node.id, slot).flatMap((link) => takersOf(node.graph, link));
}

function takersOf(graph, link) {
  if (isId(link.target_id, SUBGRAPH_OUTPUTS)) {
    const around = instanceOf(graph);
    return around ? takers(around, link.target_slot) : [];
  }
  const node = nodeById(graph, link.target_id);
  if (!isOpen(node)) return node ? [{ node, slot: link.target_slot }] : [];
  const inner = linksWhere(node.subgraph, "origin", SUBGRAPH_INPUTS, link.target_slot);
  return inner.flatMap((each) => takersOf(node.subgraph, each));
}

/** Whether a run goes into a node: a subgraph's, which is itself neither muted nor bypassed. */
function isOpen(node) {
  return Boolean(node?.subgraph) && !(node.mode in ASLEEP);
}

/** The first node that shows a subgraph. */
function instanceOf(subgraph) {
  const graphs = [subgraph.rootGraph, ...(subgraph.rootGraph?.subgraphs?.values?.() ?? [])];
  for (const graph of graphs) {
    const found = graph?.nodes?.find((node) => node.subgraph === subgraph);
    if (found) return found;
  }
  return null;
}

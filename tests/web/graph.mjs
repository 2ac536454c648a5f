// Graphs for the tests, in the shape that the front ends have in common.

/** A link whose fields are accessors and whose ids are strings, as in the newest front end. */
class Link {
  #ends;
  constructor(ends) {
    this.#ends = ends;
  }
  get origin_id() {
    return String(this.#ends[0]);
  }
  get origin_slot() {
    return this.#ends[1];
  }
  get target_id() {
    return String(this.#ends[2]);
  }
  get target_slot() {
    return this.#ends[3];
  }
}

/**
 * A graph of nodes {id: {type, in: {name: type}, out, mode, subgraph, set}} and links [from, slot, to, slot]; `set` are
 * the values of widgets.
 */
export function graphOf(nodes, links) {
  const graph = { id: `graph ${Object.keys(nodes)}`, links: new Map(), subgraphs: new Map() };
  const slots = (declared = {}) => Object.entries(declared).map(([name, type]) => ({ name, type }));
  graph.nodes = Object.entries(nodes).map(([id, { type, in: taken, out: given, mode = 0, subgraph, set = {} }]) => ({
    ...{ id: Number(id), type, mode, subgraph, graph },
    ...{ inputs: slots(taken), outputs: slots(given) },
    widgets: Object.entries(set).map(([name, value]) => ({ name, value })),
  }));
  graph.getNodeById = (id) => graph.nodes.find((node) => node.id === id) ?? null;
  links.forEach((ends, id) => graph.links.set(id, new Link(ends)));
  return graph;
}

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  asleep,
  inputIndex,
  isFed,
  nodeByLocator,
  nodeByPath,
  outermost,
  source,
  targets,
} from "../../web/graph_links.js";
import { graphOf } from "./graph.mjs";

const LATENT = "LATENT";

const stage = { type: "Stage", in: { model: "MODEL", latent: LATENT }, out: { latent: LATENT, x0: LATENT } };
const ends = (found) => found.map(({ node, slot }) => [node.id, slot]);

test("a link leads to the output that feeds an input, and back", () => {
  const graph = graphOf({ 1: stage, 2: stage }, [[1, 0, 2, 1]]);
  const [one, two] = graph.nodes;
  assert.deepEqual(source(two, inputIndex(two, "latent")), { node: one, slot: 0 });
  assert.deepEqual(ends(targets(one, 0)), [[2, 1]]);
});

test("an input without a link, or without being there, has no source", () => {
  const [one] = graphOf({ 1: stage }, []).nodes;
  assert.equal(source(one, 1), null);
  assert.equal(source(one, inputIndex(one, "nothing")), null);
  assert.deepEqual(targets(one, 0), []);
});

test("an input is fed where a link leads into it", () => {
  const graph = graphOf({ 1: stage, 2: stage }, [[1, 0, 2, 1]]);
  assert.equal(isFed(graph.nodes[1], 1), true);
  assert.equal(isFed(graph.nodes[1], 0), false);
  assert.equal(isFed(graph.nodes[0], 1), false);
});

test("reroutes are passed in both directions", () => {
  const reroute = { type: "Reroute", in: { "": "*" }, out: { "": LATENT } };
  const graph = graphOf({ 1: stage, 2: reroute, 3: reroute, 4: stage }, [
    [1, 1, 2, 0],
    [2, 0, 3, 0],
    [3, 0, 4, 1],
  ]);
  assert.deepEqual(source(graph.nodes[3], 1), { node: graph.nodes[0], slot: 1 });
  assert.deepEqual(ends(targets(graph.nodes[0], 1)), [[4, 1]]);
});

test("a bypassed node hands on the input of its output's type", () => {
  const graph = graphOf({ 1: stage, 2: { ...stage, mode: 4 }, 3: stage }, [
    [1, 0, 2, 1],
    [2, 0, 3, 1],
  ]);
  assert.deepEqual(source(graph.nodes[2], 1), { node: graph.nodes[0], slot: 0 });
  assert.deepEqual(ends(targets(graph.nodes[0], 0)), [[3, 1]]);
});

test("other nodes are passed only where it is said so", () => {
  const repeat = { type: "Repeat", in: { samples: LATENT }, out: { samples: LATENT } };
  const graph = graphOf({ 1: stage, 2: repeat, 3: stage }, [
    [1, 0, 2, 0],
    [2, 0, 3, 1],
  ]);
  const passes = (node) => node.type === "Repeat";
  assert.equal(source(graph.nodes[2], 1).node.id, 2);
  assert.equal(source(graph.nodes[2], 1, passes).node.id, 1);
  assert.deepEqual(ends(targets(graph.nodes[0], 0, passes)), [[3, 1]]);
});

test("every branch is found", () => {
  const graph = graphOf({ 1: stage, 2: stage, 3: stage }, [
    [1, 0, 2, 1],
    [1, 0, 3, 1],
  ]);
  assert.deepEqual(ends(targets(graph.nodes[0], 0)), [
    [2, 1],
    [3, 1],
  ]);
});

test("a loop of reroutes ends", () => {
  const reroute = { type: "Reroute", in: { "": "*" }, out: { "": "*" } };
  const graph = graphOf({ 1: reroute, 2: reroute }, [
    [1, 0, 2, 0],
    [2, 0, 1, 0],
  ]);
  assert.equal(source(graph.nodes[0], 0), null);
  assert.deepEqual(targets(graph.nodes[0], 0), []);
});

/** Stage 1 -> a subgraph 5 that holds stage 9 -> stage 2; the subgraph's second input sets the steps of 9. */
function nested() {
  const held = { ...stage, in: { ...stage.in, steps: "INT" } };
  const inner = graphOf({ 9: held }, [
    [-10, 0, 9, 1],
    [9, 0, -20, 0],
    [-10, 1, 9, 2],
  ]);
  const box = { type: "box", in: { latent: LATENT, steps: "INT" }, out: { latent: LATENT }, subgraph: inner };
  const root = graphOf({ 1: stage, 5: box, 2: stage }, [
    [1, 0, 5, 0],
    [5, 0, 2, 1],
  ]);
  inner.rootGraph = root;
  root.subgraphs.set("inner", inner);
  const byId = (id) => root.getNodeById(id);
  return { root, one: byId(1), two: byId(2), box: byId(5), held: inner.nodes[0] };
}

test("the borders of subgraphs are crossed in both directions", () => {
  const { one, two, held } = nested();
  assert.deepEqual(source(held, 1), { node: one, slot: 0 });
  assert.deepEqual(source(two, 1), { node: held, slot: 0 });
  assert.deepEqual(targets(one, 0), [{ node: held, slot: 1 }]);
  assert.deepEqual(targets(held, 0), [{ node: two, slot: 1 }]);
});

test("a bypassed subgraph is passed by, a muted one ends the way, and what it holds sleeps with it", () => {
  const { one, two, box, held } = nested();
  assert.equal(asleep(held), undefined);
  box.mode = 4;
  assert.deepEqual(source(two, 1), { node: one, slot: 0 });
  assert.deepEqual(targets(one, 0), [{ node: two, slot: 1 }]);
  assert.equal(asleep(held), "bypassed");
  box.mode = 2;
  assert.deepEqual(source(two, 1), { node: box, slot: 0 });
  assert.deepEqual(targets(one, 0), [{ node: box, slot: 0 }]);
  assert.equal(asleep(held), "muted");
  held.mode = 4;
  assert.equal(asleep(held), "bypassed");
});

test("an input that a subgraph's border sets is the one outside", () => {
  const { box, held, one } = nested();
  assert.deepEqual(outermost(held, 2), { node: box, slot: 1 });
  assert.deepEqual(outermost(one, 1), { node: one, slot: 1 });
});

test("an execution id is a path through subgraphs", () => {
  const { root, two, held } = nested();
  assert.equal(nodeByPath(root, "2"), two);
  assert.equal(nodeByPath(root, "5:9"), held);
  assert.equal(nodeByPath(root, "5:7"), null);
  assert.equal(nodeByPath(root, "8:9"), null);
});

test("results name nodes by their graph", () => {
  const inner = graphOf({ 4: stage }, []);
  const graph = graphOf({ 9: stage }, []);
  graph.subgraphs.set("abc", inner);
  assert.equal(nodeByLocator(graph, "9"), graph.nodes[0]);
  assert.equal(nodeByLocator(graph, "abc:4"), inner.nodes[0]);
  assert.equal(nodeByLocator(graph, "gone:4"), null);
});

// The start and end of every stage: the server computes them (GET /acestep-cascade/stretch) from what the graph says.

import { mismatches, timesQuery } from "./flow_time.js";
import { asleep } from "./graph_links.js";
import { goesToVocoder, hasClip, latentKind, line, modelOf } from "./stage_graph.js";
import { slotOf, stageBefore, stagesAfter, valueOf } from "./stage_graph.js";
import { ask } from "./server.js";

const ERROR_KEPT_MS = 2000;
const ANSWERS_KEPT = 500;

const answers = new Map(); // query -> promise of the server's answer

export function forgetAnswers() {
  answers.clear();
}

function answer(query) {
  if (answers.size > ANSWERS_KEPT) answers.clear();
  if (!answers.has(query)) {
    const answered = fetchTimes(query);
    answers.set(query, answered);
    answered.then(({ error }) => {
      if (error) setTimeout(() => answers.delete(query), ERROR_KEPT_MS);
    });
  }
  return answers.get(query);
}

async function fetchTimes(query) {
  try {
    return await ask(`stretch?${query}`);
  } catch ({ message }) {
    return { error: message };
  }
}

/**
 * The times of a stage: {times, ...}, the server's {error}, or why it is {unknown}. `below` are the stages that wait
 * for it, so that a loop ends.
 */
async function timesOf(node, below = new Set()) {
  if (asleep(node)) return { unknown: asleep(node) };
  const model = modelOf(node);
  if (!model.name) return { unknown: model.why };
  const asked = { slot: slotOf(node), model: model.name, ...settingsOf(node) };
  for (const [name, value] of Object.entries(asked)) {
    if (value === undefined) return { unknown: `${name} comes from a link` };
  }
  const clip = hasClip(node);
  const known = { solver: valueOf(node, "solver"), clip: clip === undefined ? undefined : Number(clip) };
  return answer(timesQuery({ ...asked, ...known, ...(await comingIn(node, below)) }));
}

/** The widgets that the times come from; undefined where only a run can tell. */
function settingsOf(node) {
  const settings = { steps: valueOf(node, "steps"), shift: valueOf(node, "shift") };
  if (valueOf(node, "stretch") !== "custom") return settings;
  return { ...settings, start: valueOf(node, "stretch.start"), end: valueOf(node, "stretch.end") };
}

/** The latent that comes in: its kind and, unless it is finished, its time; empty where the graph does not say. */
async function comingIn(node, below) {
  const latent = latentKind(node);
  if (latent !== "stage") return { latent, at: latent === "empty" ? 1 : undefined };
  const before = stageBefore(node);
  if (!before || below.has(before)) return {};
  const at = (await timesOf(before, new Set([...below, node]))).times?.at(-1);
  return at === 0 ? { latent: "finished" } : { latent, at };
}

/** All that a stage's strip shows: its own times, those of its neighbours, gaps and overlaps between them. */
export async function viewOf(node) {
  const own = await timesOf(node);
  const after = stagesAfter(node);
  const others = new Set([...line(node, stageBefore), ...after, ...line(node, (stage) => stagesAfter(stage)[0])]);
  others.delete(node);
  const shares = await Promise.all([...others].map(async (stage) => ({ stage, ...(await timesOf(stage)) })));
  const neighbours = shares.filter(({ times }) => times).map(({ stage, times }) => ({ slot: slotOf(stage), times }));
  if (!own.times) return { ...own, neighbours, problems: [] };
  const starts = shares.filter(({ stage, times }) => times && after.includes(stage)).map(({ times }) => times[0]);
  const goneOnAt = goesToVocoder(node) ? [...starts, 0] : starts;
  const { at } = await comingIn(node, new Set());
  return { ...own, neighbours, problems: mismatches(own.times, at, goneOnAt) };
}

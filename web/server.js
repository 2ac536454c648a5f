// Asks the pack's own routes.

import { api } from "../../scripts/api.js";

/**
 * The JSON that a route answers; with a `body` it is posted. Throws an Error whose message is the server's own line.
 */
export async function ask(route, { body, signal } = {}) {
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await api.fetchApi(`/acestep-cascade/${route}`, { signal, ...(body ? post : {}) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error ?? `the server answered ${response.status}`);
  return answer;
}

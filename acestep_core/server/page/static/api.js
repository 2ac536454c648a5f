// What the other scripts share: texts, elements, requests to the server, and acts that the page's forms take.
import text from "./strings.js"

/** The text of a name, with values in the place of {names}. */
export const say = (name, values = {}) => text[name].replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "")

/** An element with properties, and children that are elements or texts; falsy ones are left out. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name === "role" || name === "for") made.setAttribute(name, value)
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value)
    else made[name] = value
  }
  made.append(...children.filter(Boolean))
  return made
}

export const button = (label, onclick, more = {}) => el("button", { type: "button", textContent: label, onclick, ...more })

/** The JSON of an answer. Throws an Error with what the server said. */
export async function ask(path, options = {}) {
  const answer = await fetch(path, options)
  const body = await answer.json().catch(() => ({}))
  if (answer.status === 401) location.reload()
  if (!answer.ok) throw new Error(body.error?.message ?? body.detail ?? say("failed_request", { status: answer.status }))
  return body
}

/** Queues a job. */
export function submit(request) {
  const headers = { "content-type": "application/json" }
  return ask("v1/jobs", { method: "POST", headers, body: JSON.stringify(request) })
}

/** Asks the forms of the page to take a song, a sound, or the answer of a job. */
export function act(name, id, more = {}) {
  document.dispatchEvent(new CustomEvent("acestep:act", { detail: { act: name, id, ...more } }))
  document.querySelector("#tabs")?.scrollIntoView({ behavior: "smooth", block: "nearest" })
}

/** 75.4 -> "1:15"; what is not known is "–:––". */
export function clock(seconds, decimals = 0) {
  if (!Number.isFinite(seconds) || seconds < 0) return "–:––"
  const shown = Number(seconds.toFixed(decimals))
  const minutes = Math.floor(shown / 60)
  return `${minutes}:${(shown - 60 * minutes).toFixed(decimals).padStart(decimals ? decimals + 3 : 2, "0")}`
}

/** Runs what may fail, and shows its message in an element. */
export async function attempt(place, work) {
  place.textContent = ""
  place.classList.remove("wrong")
  try {
    return await work()
  } catch (error) {
    place.textContent = error.message
    place.classList.add("wrong")
  }
}

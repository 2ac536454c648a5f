// What stands in the forms, kept in this browser: the forms tell every change, and get it back when the page is opened.
const KEPT = "acestep-drafts"

const read = () => {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) ?? {}
  } catch {
    return {}
  }
}

/** Brings the drafts to the server, which says what of them still fits. */
const bring = () => document.dispatchEvent(new CustomEvent("acestep:drafts", { detail: read() }))

/**
 * What each field becomes once the server has answered; undefined leaves it. `forms`: form -> name -> the value at first;
 * `values`: those that all these fields have now; `fitting`: form -> groups {name: value or update}, which are taken
 * whole, where nothing of them was typed. Changes are kept from here on: what the forms tell as they are built is none.
 */
window.acestepRestore = (forms, fitting, values) => {
  const given = [...values]
  const filled = Object.entries(forms).flatMap(([form, usual]) => {
    const names = Object.keys(usual)
    const now = Object.fromEntries(names.map((name) => [name, given.shift()]))
    const isTyped = (name) => !isSame(now[name], usual[name])
    const groups = (fitting?.[form] ?? []).filter((group) => !Object.keys(group).some(isTyped))
    const taken = Object.assign({}, ...groups)
    if (names.some(isTyped)) keep(form, names, names.map((name) => valueOf(taken[name]) ?? now[name]))
    return names.map((name) => taken[name])
  })
  window.acestepKeep = keep
  return filled
}

/** A field of text that is empty holds nothing until it is shown, and then an empty text. */
const isSame = (one, other) => JSON.stringify(one ?? "") === JSON.stringify(other ?? "")
const valueOf = (given) => (given?.__type__ === "update" ? given.value : given)

function keep(form, names, values) {
  const draft = Object.fromEntries(names.map((name, index) => [name, values[index]]))
  try {
    localStorage.setItem(KEPT, JSON.stringify({ ...read(), [form]: draft }))
  } catch {
    // the browser's room is full, or it keeps nothing: the forms work all the same
  }
}

if (window.acestepTakesDrafts) bring()
else document.addEventListener("acestep:takes-drafts", bring, { once: true })
document.addEventListener("submit", ({ target }) => target.matches("[action=logout]") && localStorage.removeItem(KEPT))

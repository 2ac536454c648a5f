// What stands in the forms, kept in this browser: the forms tell every change, and get it back when the page is opened.
const KEPT = "acestep-drafts"

const read = () => {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) ?? {}
  } catch {
    return {}
  }
}

/** Hands the drafts to the forms. What these tell before, as they are built, is no change. */
function restore() {
  const drafts = read()
  if (Object.keys(drafts).length) document.dispatchEvent(new CustomEvent("acestep:act", { detail: { act: "drafts", drafts } }))
  window.acestepKeep = keep
}

function keep(form, names, values) {
  const draft = Object.fromEntries(names.map((name, index) => [name, values[index]]))
  try {
    localStorage.setItem(KEPT, JSON.stringify({ ...read(), [form]: draft }))
  } catch {
    // the browser's room is full, or it keeps nothing: the forms work all the same
  }
}

if (window.acestepActs) restore()
else document.addEventListener("acestep:acts", restore, { once: true })
document.addEventListener("submit", ({ target }) => target.matches("[action=logout]") && localStorage.removeItem(KEPT))

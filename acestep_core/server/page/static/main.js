// Scripts of the page: each defines an element that the page has, or listens.
import "./drafts.js"
import "./wave.js"
import "./jobs.js"
import "./library.js"
import "./sounds.js"
import "./datasets.js"
import "./train.js"

/** A text with a tag on a line of its own where the cursor of a field is. */
window.acestepInsert = (id, tag, text) => {
  const field = document.querySelector(`#${id} textarea`)
  const at = field?.selectionStart ?? text.length
  const [before, behind] = [text.slice(0, at).trimEnd(), text.slice(at).trimStart()]
  const made = `${before}${before ? "\n\n" : ""}${tag}\n`
  setTimeout(() => {
    field?.focus()
    field?.setSelectionRange(made.length, made.length)
  }, 50)
  return `${made}${behind}`
}

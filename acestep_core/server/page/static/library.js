// <song-library>: all songs of the server, searched as one types, and two of them compared.
import { ask, attempt, button, el, say } from "./api.js"
import { songCard } from "./songs.js"

const PAGE = 30
const TYPING_MS = 250
const ORDERS = ["newest", "oldest", "title"]

class SongLibrary extends HTMLElement {
  #asked = 0

  connectedCallback() {
    if (this.list) return
    const listed = { type: "search", placeholder: say("search"), "aria-label": say("search") }
    this.query = el("input", { ...listed, oninput: () => this.later() })
    const options = ORDERS.map((name) => el("option", { value: name, textContent: say(name) }))
    this.order = el("select", { "aria-label": say("order"), onchange: () => this.search() }, ...options)
    this.count = el("p", { className: "count", role: "status" })
    this.compared = new Comparison()
    this.list = el("div", { className: "songs" })
    this.more = button(say("show_more"), () => this.load(this.list.childElementCount), { hidden: true })
    const tools = el("div", { className: "tools" }, this.query, this.order)
    this.append(tools, this.compared.element, this.count, this.list, this.more)
    document.addEventListener("acestep:songs", () => this.isConnected && this.refresh())
    document.addEventListener("acestep:compare", ({ detail }) => this.compared.add(detail))
    this.search()
  }

  later() {
    clearTimeout(this.typing)
    this.typing = setTimeout(() => this.search(), TYPING_MS)
  }

  /** New songs come in unless somebody is reading further down, or plays one. */
  refresh() {
    const isBusy = this.list.childElementCount > PAGE || this.list.querySelector(".play.on, details[open]")
    if (!isBusy) this.search()
  }

  search() {
    return this.load(0)
  }

  async load(offset) {
    const asked = ++this.#asked
    const given = new URLSearchParams({ q: this.query.value, order: this.order.value, limit: PAGE, offset })
    const found = await attempt(this.count, () => ask(`v1/songs?${given}`))
    if (!found || asked !== this.#asked) return
    const removed = () => (this.count.textContent = this.countText(--found.total))
    const cards = found.songs.map((song) => songCard(song, { compact: true, removed }))
    if (offset) this.list.append(...cards)
    else this.list.replaceChildren(...cards)
    this.count.textContent = this.countText(found.total)
    this.more.hidden = this.list.childElementCount >= found.total
  }

  countText(total) {
    if (total) return total === 1 ? say("song") : say("songs", { total })
    return say(this.query.value.trim() ? "nothing_found" : "no_songs")
  }
}

/** Two songs one below the other: when one is played after the other, it goes on at the same place. */
class Comparison {
  #songs = []

  constructor() {
    this.element = el("section", { className: "comparison", hidden: true })
  }

  add(song) {
    this.#songs = [...this.#songs.filter(({ id }) => id !== song.id), song].slice(-2)
    this.element.hidden = false
    const hint = say(this.#songs.length < 2 ? "compare_one" : "compare_hint")
    const close = button("✕", () => this.close(), { "aria-label": say("compare_close"), className: "close" })
    const rows = this.#songs.map((one, index) => this.row(one, index))
    this.element.replaceChildren(el("div", { className: "top" }, el("h3", { textContent: say("compare") }), close))
    this.element.append(...rows.map(({ row }) => row), el("p", { className: "hint", textContent: hint }))
    this.waves = rows.map(({ wave }) => wave)
    this.element.scrollIntoView({ behavior: "smooth", block: "nearest" })
  }

  row(song, index) {
    const wave = el("song-wave")
    wave.sound = song
    wave.addEventListener("playing", () => this.goOn(index))
    const title = el("h4", { textContent: `${"AB"[index]} · ${song.title}` })
    return { wave, row: el("div", { className: "row" }, title, wave) }
  }

  goOn(index) {
    const [own, other] = [this.waves[index], this.waves[1 - index]]
    if (other?.at && this.last === other) own.seek(other.at < own.duration ? other.at : 0)
    this.last = own
  }

  close() {
    this.#songs = []
    this.element.hidden = true
    this.element.replaceChildren()
  }
}

customElements.define("song-library", SongLibrary)

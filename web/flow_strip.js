// The picture of a stage on its node: which share of the flow time it runs, beside the shares of its neighbours, with a
// warning where they do not meet. Where start and end are the user's own they can be dragged, or moved by arrow keys.

import { FONT_CSS, html, legible, svg, WARNING } from "./elements.js";
import {
  currentStep,
  dragged,
  mismatchText,
  percent,
  rescaled,
  shareText,
  span,
  ticks,
  timeText,
} from "./flow_time.js";

export const HEIGHT = 62;
const BAR_HEIGHT = 24; // letters above, ticks below
const NEAR_PX = 6; // a handle that is let go nearer than that to a neighbour's time takes it
const KEY_STEP = 0.01; // arrow keys; a tenth of it with Shift

const COLOURS = { L: "#4f8df5", M: "#a678ee", S: "#2bb59b" };

const ONE_LINE = { display: "block", whiteSpace: "nowrap", textAlign: "center" };
const TWO_LINES = { display: "-webkit-box", whiteSpace: "normal", textAlign: "left" };

const STRIP_CSS =
  `box-sizing:border-box;height:${HEIGHT}px;padding:1px 0;display:flex;flex-direction:column;gap:3px;overflow:hidden;` +
  `${FONT_CSS}color:var(--descrip-text);user-select:none;`;
const HANDLE_CSS =
  `position:absolute;top:0;width:11px;height:${BAR_HEIGHT}px;margin-left:-5.5px;cursor:ew-resize;touch-action:none;` +
  "border-radius:3px;" +
  "background:linear-gradient(to right,transparent 3px,#0008 3px 4px,#fff 4px 7px,#0008 7px 8px,transparent 8px);";

function row(...children) {
  const element = html("div", "display:flex;justify-content:space-between;gap:8px;line-height:14px;max-height:28px");
  element.append(...children);
  return element;
}

function label(css = "", text = "") {
  return html("span", `overflow:hidden;text-overflow:ellipsis;white-space:nowrap;${css}`, { textContent: text });
}

let stripNumber = 0;

export class Strip {
  /** `onDrag(start, end)` sets the two widgets. */
  constructor(slot, onDrag) {
    this.slot = slot;
    this.onDrag = onDrag;
    this.hatch = `acestep-hatch-${++stripNumber}`;
    this.view = { unknown: "", neighbours: [], problems: [] };
    this.build();
    this.draw();
  }

  build() {
    this.share = label("color:var(--input-text)");
    this.kind = label("flex:0 0 auto");
    this.note = label("-webkit-line-clamp:2;-webkit-box-orient:vertical");
    const bar = { width: "100%", height: BAR_HEIGHT, style: "display:block;border-radius:4px;overflow:hidden" };
    this.bar = svg("svg", bar);
    this.ends = ["noise", "music"].map((text) => label("flex:0 0 auto", text));
    this.head = row(this.share, this.kind);
    this.handles = { start: this.handle("start"), end: this.handle("end") };
    const frame = html("div", `position:relative;flex:0 0 auto;height:${BAR_HEIGHT}px`);
    frame.append(this.bar, this.handles.start, this.handles.end);
    this.element = html("div", STRIP_CSS);
    this.element.append(this.head, frame, row(this.ends[0], this.note, this.ends[1]));
  }

  /** `view`: of the server, the graph, and whether start and end are `custom`. */
  show(view) {
    const text = JSON.stringify(view);
    if (text === this.text || this.grabbed) return;
    this.text = text;
    this.view = view;
    this.draw();
  }

  /** `progress` is {value, max} while the node runs, else undefined. */
  run(progress) {
    if (!progress && !this.progress) return;
    this.progress = progress;
    this.draw();
  }

  // ---- dragging ----

  handle(name) {
    const spoken = { tabIndex: 0, role: "slider", ariaLabel: `${name} of the stage (t)`, ariaValueMin: "0" };
    const element = html("div", HANDLE_CSS, { ...spoken, ariaValueMax: "1" });
    element.addEventListener("pointerdown", (event) => this.grab(event, name));
    element.addEventListener("pointermove", (event) => this.grabbed === name && this.drag(event));
    for (const kind of ["pointerup", "pointercancel"]) element.addEventListener(kind, () => (this.grabbed = null));
    element.addEventListener("keydown", (event) => this.key(event, name));
    return element;
  }

  grab(event, name) {
    if (event.button !== 0) return;
    event.stopPropagation(); // Nodes 2.0 would drag the node
    this.handles[name].setPointerCapture(event.pointerId);
    this.grabbed = name;
  }

  drag(event) {
    const { left, width } = this.bar.getBoundingClientRect();
    if (width > 0) this.move(this.grabbed, 1 - (event.clientX - left) / width, NEAR_PX / width);
  }

  key(event, name) {
    const direction = { ArrowLeft: 1, ArrowDown: 1, ArrowRight: -1, ArrowUp: -1 }[event.key]; // noise is at the left
    if (!direction) return;
    event.preventDefault();
    event.stopPropagation();
    const by = direction * KEY_STEP * (event.shiftKey ? 0.1 : 1);
    this.move(name, this.view.times.at(name === "start" ? 0 : -1) + by, 0);
  }

  move(name, t, near) {
    const { times, neighbours, auto } = this.view;
    const meets = [...neighbours.flatMap((one) => [one.times[0], one.times.at(-1)]), ...(auto ?? [])];
    const ends = dragged([times[0], times.at(-1)], name, t, meets, near);
    this.view = { ...this.view, times: rescaled(times, ends), problems: [] };
    this.draw();
    this.onDrag(...ends);
  }

  // ---- drawing ----

  draw() {
    const { times } = this.view;
    const step = times && this.progress ? currentStep(times, this.progress.value, this.progress.max) : null;
    this.write(step);
    this.bar.replaceChildren(...this.parts(step));
    this.placeHandles(times && !step);
  }

  placeHandles(idle) {
    const { times, custom } = this.view;
    for (const [name, element] of Object.entries(this.handles)) {
      element.style.display = idle && custom ? "" : "none";
      if (!times) continue;
      const t = times.at(name === "start" ? 0 : -1);
      element.style.left = `${percent(t)}%`;
      element.ariaValueNow = timeText(t, 4);
      element.title = `${name} ${timeText(t, 4)}`;
    }
  }

  write(step) {
    const { times, error, unknown, problems, variant, shift, guidance, notes } = this.view;
    const sentences = error ? [error] : (notes ?? []);
    this.share.textContent = times ? shareText(times) : (unknown ?? "");
    this.kind.textContent = times ? `${variant} · shift ${shift}` : "";
    const warning = [...sentences, ...problems.map(mismatchText)].join(sentences.length ? "; " : ", ");
    this.note.textContent = step ? `step ${step.number} of ${step.of}` : warning;
    this.note.style.color = legible(step ? COLOURS[this.slot] : WARNING);
    this.makeRoom(sentences.length > 0 && !step);
    const about = times ? `guidance by default: ${guidance}` : "";
    this.element.title = [this.share.textContent, warning, about].filter(Boolean).join("\n");
  }

  /** A sentence takes the room of all other words. */
  makeRoom(sentence) {
    this.head.style.display = sentence ? "none" : "flex";
    Object.assign(this.note.style, sentence ? TWO_LINES : ONE_LINE);
    for (const end of this.ends) end.style.display = sentence ? "none" : "";
  }

  parts(step) {
    const { times, neighbours, problems } = this.view;
    return [
      this.pattern(),
      svg("rect", { width: "100%", height: "100%", fill: "var(--comfy-input-bg)" }),
      ...neighbours.map((one) => this.fill(one, 0.3)),
      ...(times ? [this.fill({ slot: this.slot, times }, step ? 0.55 : 0.95)] : []),
      ...(step ? [this.block(step.from, step.to, { fill: COLOURS[this.slot], opacity: 1 })] : []),
      ...(times ? ticks(times).map((x) => this.tick(x)) : []),
      ...problems.map(({ from, to }) => this.block(from, to, { fill: `url(#${this.hatch})`, stroke: WARNING })),
      ...neighbours.map((one) => this.letter(one, "var(--input-text)", 0.75)),
      ...(times && !step ? [this.letter({ slot: this.slot, times }, "#fff", 1)] : []),
      ...(step ? [this.cursor(step.from)] : []),
    ];
  }

  pattern() {
    const size = { width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" };
    return svg("pattern", { id: this.hatch, ...size }, svg("rect", { width: 3, height: 6, fill: WARNING }));
  }

  block(from, to, attributes) {
    const { x, width } = span(from, to);
    return svg("rect", { x: `${x}%`, width: `${width}%`, y: 0, height: "100%", ...attributes });
  }

  fill({ slot, times }, opacity) {
    return this.block(times[0], times.at(-1), { fill: COLOURS[slot], opacity });
  }

  tick(x) {
    return svg("line", { x1: `${x}%`, x2: `${x}%`, y1: 17, y2: BAR_HEIGHT, stroke: "#fff", "stroke-opacity": 0.8 });
  }

  cursor(t) {
    const x = `${percent(t)}%`;
    return svg("line", { x1: x, x2: x, y1: 0, y2: "100%", stroke: "#fff", "stroke-width": 2 });
  }

  letter({ slot, times }, fill, opacity) {
    const { x, width } = span(times[0], times.at(-1));
    if (width < 5) return svg("g", {});
    const place = { x: `${x + width / 2}%`, y: 13, "text-anchor": "middle", "font-size": 10, "font-weight": 600 };
    return svg("text", { ...place, fill, "fill-opacity": opacity }, slot);
  }
}

// What pointer, wheel and keys do to an editor of regions.
//
// Keys work while the waveform has the focus. A text field that is not seen has it, because ComfyUI leaves the keys of
// text fields alone: Delete would remove the node, and Ctrl+Z undo in the graph as well.

import { ACCENT, html } from "./elements.js";
import * as regions from "./regions.js";

const GRAB_PX = 6; // around an edge
const DRAG_PX = 3; // less is a click
const FINE_SECONDS = 0.01;
const WHEEL_ZOOM = 1.0015; // a pixel of the wheel
export const BUTTON_ZOOM = 1.8;

const KEYS_CSS =
  "position:absolute;width:1px;height:1px;left:50%;top:50%;padding:0;border:0;opacity:0;pointer-events:none;";

export class Gestures {
  drag = null;

  constructor(editor) {
    this.editor = editor;
    this.keys = html("input", KEYS_CSS, { type: "text", readOnly: true, ariaLabel: "regions of the sound" });
    editor.element.append(this.keys);
    this.listen();
  }

  listen() {
    const { frame, ruler, bar } = this.editor.drawing;
    this.onPress(frame, (event) => this.beginOnWave(event));
    this.onPress(ruler, (event) => this.editor.setCursor(this.timeAt(event)));
    this.onPress(bar, (event) => this.scrollTo(event) ?? { kind: "scroll" });
    for (const element of [frame, ruler, bar]) {
      element.addEventListener("pointermove", (event) => this.moved(event));
      element.addEventListener("pointerup", (event) => this.drop(event));
      element.addEventListener("pointercancel", () => this.letGo());
    }
    this.keys.addEventListener("keydown", (event) => this.key(event));
    this.keys.addEventListener("focus", () => (frame.style.boxShadow = `inset 0 0 0 1px ${ACCENT}`));
    this.keys.addEventListener("blur", () => (frame.style.boxShadow = ""));
    this.editor.element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  // ---- pointer ----

  onPress(element, begin) {
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.stopPropagation(); // Nodes 2.0 would drag the node
      this.focus();
      if (!this.editor.duration) return;
      element.setPointerCapture(event.pointerId);
      this.drag = begin(event) ?? null;
    });
    element.addEventListener("mousedown", (event) => event.preventDefault()); // the focus stays with the keys
  }

  focus() {
    this.keys.focus({ preventScroll: true });
  }

  get hasFocus() {
    return this.editor.element.contains(document.activeElement);
  }

  timeAt({ clientX }) {
    const { view, duration, drawing } = this.editor;
    const { left, width } = drawing.frame.getBoundingClientRect();
    return Math.min(duration, Math.max(0, view.start + ((clientX - left) / (width || 1)) * view.span));
  }

  snapped(at, event) {
    const { snap, beats, duration } = this.editor;
    return event.altKey ? at : regions.snapped(at, snap, beats, duration);
  }

  /** What lies under the pointer: {index, kind}, of a region or its edge, the selected one's first; or nothing. */
  under(event) {
    const { regions: all, selected, readOnly } = this.editor;
    const at = this.timeAt(event);
    const order = [...all.keys()].sort((a, b) => (b === selected) - (a === selected));
    const near = this.secondsIn(GRAB_PX);
    for (const kind of readOnly ? [] : ["start", "end"]) {
      const index = order.find((one) => Math.abs(all[one][kind] - at) <= reach(all[one], kind, at, near));
      if (index !== undefined) return { index, kind };
    }
    const index = order.find((one) => all[one].start <= at && at <= all[one].end);
    return index === undefined ? { index: -1, kind: "draw" } : { index, kind: "move" };
  }

  secondsIn(pixels) {
    const { view, drawing } = this.editor;
    return (pixels * view.span) / (drawing.frame.getBoundingClientRect().width || 1);
  }

  beginOnWave(event) {
    const { editor } = this;
    const base = { regions: editor.regions, selected: editor.selected };
    const { index, kind } = this.under(event);
    editor.preview(editor.regions, index);
    return { kind, index, base, from: this.timeAt(event), x: event.clientX, isMoving: false };
  }

  moved(event) {
    const { drag, editor } = this;
    if (!drag) return this.hover(event);
    if (drag.kind === "scroll") return this.scrollTo(event);
    if (editor.readOnly || (!drag.isMoving && Math.abs(event.clientX - drag.x) < DRAG_PX)) return;
    drag.isMoving = true;
    this.scrollAtEdge(event);
    editor.preview(...this.dragged(event));
  }

  /** The regions as they are while the pointer drags, and the index of the one that is dragged. */
  dragged(event) {
    const { kind, index, base, from } = this.drag;
    const [at, { duration }] = [this.timeAt(event), this.editor];
    if (kind === "draw") {
      const made = regions.added(base.regions, this.snapped(from, event), this.snapped(at, event), duration);
      return [made.regions, made.index];
    }
    if (kind === "move") {
      const start = this.snapped(base.regions[index].start + at - from, event);
      return [regions.moved(base.regions, index, start, duration), index];
    }
    return [regions.resized(base.regions, index, kind, this.snapped(at, event), duration), index];
  }

  /** A drag beyond the edges of what is seen goes on there. */
  scrollAtEdge({ clientX }) {
    const { left, right } = this.editor.drawing.frame.getBoundingClientRect();
    const beyond = clientX < left ? -1 : clientX > right ? 1 : 0;
    if (beyond) this.editor.scroll((beyond * this.editor.view.span) / 40);
  }

  drop(event) {
    const { drag, editor } = this;
    this.drag = null;
    if (!drag || drag.kind === "scroll") return;
    if (drag.isMoving) editor.commit(editor.regions, editor.selected);
    else if (drag.kind === "draw") editor.setCursor(this.timeAt(event));
    editor.take(editor.text);
  }

  /** Gives a drag up: everything is as before it. */
  letGo() {
    const { drag, editor } = this;
    this.drag = null;
    if (!drag?.base) return;
    editor.preview(drag.base.regions, drag.base.selected);
    editor.take(editor.text);
  }

  hover(event) {
    const { duration, drawing, readOnly } = this.editor;
    if (!duration || event.currentTarget !== drawing.frame) return;
    const cursors = readOnly ? { draw: "default", move: "pointer" } : { draw: "crosshair", move: "grab" };
    drawing.frame.style.cursor = cursors[this.under(event).kind] ?? "ew-resize";
  }

  /** Scrolls so that the pointer is in the middle of the bar's thumb. */
  scrollTo({ clientX }) {
    const { drawing, duration, view } = this.editor;
    const { left, width } = drawing.bar.getBoundingClientRect();
    const at = ((clientX - left) / (width || 1)) * duration;
    this.editor.look(regions.scrolledTo(view, at - view.span / 2, duration));
  }

  /** Zooms where the pointer is; with Shift, or sideways, it scrolls. Only with the focus: else the graph is zoomed. */
  wheel(event) {
    if (!this.hasFocus || !this.editor.duration || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const across = event.shiftKey && !event.deltaX ? event.deltaY : event.deltaX;
    if (across) this.editor.scroll(this.secondsIn(across));
    else this.editor.zoom(WHEEL_ZOOM ** event.deltaY, this.timeAt(event));
  }

  // ---- keys ----

  key(event) {
    const done = event.ctrlKey || event.metaKey ? this.shortcut(event) : this.plainKey(event);
    if (!done) return;
    event.preventDefault();
    event.stopPropagation();
  }

  shortcut({ key, shiftKey }) {
    const name = key.toLowerCase();
    if (name === "z") this.editor.goBack(shiftKey ? 1 : -1);
    else if (name === "y") this.editor.goBack(1);
    else return false;
    return true;
  }

  plainKey(event) {
    const { editor } = this;
    const keys = {
      " ": () => editor.toggle(event.shiftKey),
      Delete: () => editor.removeSelected(),
      Backspace: () => editor.removeSelected(),
      Escape: () => (this.drag ? this.letGo() : editor.select(-1)),
      ArrowLeft: () => this.nudge(-1, event),
      ArrowRight: () => this.nudge(1, event),
      ArrowUp: () => this.selectNext(-1),
      ArrowDown: () => this.selectNext(1),
      Home: () => editor.setCursor(0),
      End: () => editor.setCursor(editor.duration),
      "+": () => editor.zoom(1 / BUTTON_ZOOM),
      "=": () => editor.zoom(1 / BUTTON_ZOOM),
      "-": () => editor.zoom(BUTTON_ZOOM),
      0: () => editor.lookAtAll(),
    };
    const act = editor.duration && keys[event.key];
    act?.();
    return Boolean(act);
  }

  selectNext(by) {
    const { regions: all, selected } = this.editor;
    const from = Math.max(selected, by > 0 ? -1 : all.length);
    if (all.length) this.editor.select((from + by + all.length) % all.length);
  }

  /** Moves the selected region, with Shift its end, or the cursor: by a beat or bar, with Alt by a hundredth. */
  nudge(direction, { altKey, shiftKey }) {
    const { editor } = this;
    const { regions: all, selected, duration } = editor;
    const by = direction * (altKey ? FINE_SECONDS : regions.stepOf(editor.snap, editor.beats));
    const region = all[selected];
    if (!region) return editor.setCursor(Math.min(duration, Math.max(0, editor.cursor + by)));
    if (editor.readOnly) return;
    const end = () => regions.resized(all, selected, "end", region.end + by, duration);
    editor.commit(shiftKey ? end() : regions.moved(all, selected, region.start + by, duration));
    editor.select(selected);
  }
}

/** How far from an edge it is grabbed: inside a short region less, so that the region itself can be. */
function reach({ start, end }, kind, at, near) {
  const isInside = kind === "start" ? at > start : at < end;
  return isInside ? Math.min(near, (end - start) / 3) : near;
}

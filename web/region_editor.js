// Draws, moves, resizes, types and plays regions of a sound. It knows nothing of ComfyUI: whoever puts it on a node gives
// it a text of regions, a sound and its beats, and is told of the text when a user has changed it.

import { FONT_CSS, html } from "./elements.js";
import { Controls, CONTROLS_HEIGHT, SNAPS } from "./region_controls.js";
import { Drawing, DRAWING_HEIGHT } from "./region_drawing.js";
import { BUTTON_ZOOM, Gestures } from "./region_gestures.js";
import { Peaks } from "./region_peaks.js";
import { PartPlayer } from "./region_player.js";
import * as regions from "./regions.js";
import { SoundGroup } from "./sound_group.js";

export const EDITOR_HEIGHT = DRAWING_HEIGHT + CONTROLS_HEIGHT;
const SURROUNDINGS_SECONDS = 2;

const EDITOR_CSS =
  `${FONT_CSS}box-sizing:border-box;position:relative;display:flex;flex-direction:column;height:${EDITOR_HEIGHT}px;` +
  "overflow:hidden;color:var(--descrip-text);user-select:none;";

export class RegionEditor {
  text = "";
  regions = [];
  others = []; // texts that are no regions, or not yet
  selected = -1;
  cursor = 0;
  view = { start: 0, span: 0 };
  sound = null; // {url, name, peaks(start, end, columns, signal)}
  duration = undefined;
  beats = null;
  snap = SNAPS[0];
  readOnly = false;
  failed = false;
  hint = "";
  warning = "";
  takesFiles = false;
  history = null;

  /** `on`: change(text), snap(how), file(). */
  constructor(on) {
    this.on = on;
    this.group = new SoundGroup();
    this.player = new PartPlayer(this.group, {
      onTime: (at, plays) => this.showHead(at, plays),
      onError: () => this.warn(`${this.sound?.name ?? "it"} cannot be played here`),
    });
    this.drawing = new Drawing();
    this.peaks = new Peaks(
      (peaks) => this.drawing.setPeaks(peaks),
      (message) => this.set(this.duration ? { warning: message } : { hint: message }),
    );
    this.controls = new Controls(this.group.tools, this.buttons());
    this.element = html("div", EDITOR_CSS);
    this.element.dataset.captureWheel = "true"; // in Nodes 2.0, while the focus is inside
    this.element.append(...this.drawing.elements, this.controls.element);
    this.gestures = new Gestures(this);
    this.draw();
  }

  buttons() {
    return {
      play: () => this.toggle(false),
      around: () => this.toggle(true),
      snap: () => this.setSnap(SNAPS[(SNAPS.indexOf(this.snap) + 1) % SNAPS.length]),
      out: () => this.zoom(BUTTON_ZOOM),
      in: () => this.zoom(1 / BUTTON_ZOOM),
      fit: () => this.lookAtAll(),
      undo: () => this.goBack(-1),
      redo: () => this.goBack(1),
      remove: () => this.removeSelected(),
      file: () => this.on.file(),
      type: (edge, text) => this.type(edge, text),
    };
  }

  // ---- what is given ----

  /** The widget's text, if someone else has set it. */
  setText(text) {
    if (this.gestures.drag) return;
    this.history ??= new regions.History(text); // what a workflow brings is no edit
    if (text === this.text) return;
    this.history.add(text);
    this.take(text);
  }

  /** Leaves the text and what was done to it, for those of another sound. */
  forget() {
    this.history = null;
    this.take("");
  }

  /** The sound, or null and why there is none. The same one again changes nothing. */
  setSound(sound, hint = "") {
    const isSame = sound?.key === this.sound?.key && (!sound || !this.failed); // what failed is tried again
    if (isSame) return sound ? undefined : this.set({ hint });
    this.gestures.letGo();
    Object.assign(this, { sound, hint, failed: false });
    this.peaks.stop();
    this.player.load(null);
    this.drawing.setPeaks(null);
    Object.assign(this, { duration: undefined, warning: "", cursor: 0, view: { start: 0, span: 0 } });
    this.take(this.text);
    if (sound) this.load(sound);
  }

  async load(sound) {
    this.set({ hint: "reading the sound …" });
    const peaks = await this.peaks.start(sound);
    if (sound !== this.sound) return;
    this.failed = !peaks;
    if (!peaks) return;
    Object.assign(this, { hint: "", duration: peaks.seconds, view: { start: 0, span: peaks.seconds } });
    this.player.load(sound.url, peaks.seconds);
    this.take(this.text);
  }

  /** A drag goes on as it began: what the beats make of the text is seen when it is over. */
  setBeats(beats) {
    this.beats = beats;
    if (!this.gestures.drag) this.take(this.text);
  }

  set(state) {
    Object.assign(this, state);
    this.draw();
  }

  setSnap(snap) {
    this.snap = snap;
    this.on.snap(snap);
    this.draw();
  }

  take(text) {
    const before = this.regions;
    this.text = text;
    Object.assign(this, regions.readRegions(text, this));
    this.selected = regions.sameRegion(before, this.selected, this.regions);
    this.draw();
  }

  // ---- what is seen ----

  look(view) {
    if (!this.duration) return;
    this.view = view;
    this.peaks.show(view);
    this.draw();
  }

  lookAtAll() {
    this.look({ start: 0, span: this.duration });
  }

  /** Zooms around a time; without one around the selected region, or the cursor if it is seen. */
  zoom(times, at = this.zoomCentre()) {
    if (this.duration) this.look(regions.zoomed(this.view, times, at, this.duration));
  }

  zoomCentre() {
    const { start, span } = this.view;
    const region = this.regions[this.selected];
    const at = region ? (region.start + region.end) / 2 : this.cursor;
    return at >= start && at <= start + span ? at : start + span / 2;
  }

  scroll(by) {
    if (this.duration) this.look(regions.scrolledTo(this.view, this.view.start + by, this.duration));
  }

  draw() {
    this.drawing.draw(this);
    this.controls.show(this);
    this.gestures.keys.value = this.spoken(); // a screen reader says it
    if (!this.player.plays) this.drawing.drawHead(undefined, this.view);
  }

  spoken() {
    const region = this.regions[this.selected];
    return region ? `region ${this.selected + 1} of ${this.regions.length}: ${rangeText(region)}` : "";
  }

  get hasFocus() {
    return this.gestures.hasFocus;
  }

  warn(warning) {
    this.set({ warning });
  }

  // ---- edits ----

  /** Shows an edit that is not done yet. */
  preview(edited, selected = this.selected) {
    Object.assign(this, { regions: edited, selected });
    this.draw();
  }

  /** Keeps an edit, and tells of it. */
  commit(edited, selected = this.selected) {
    this.preview(edited, selected);
    const text = regions.writeRegions(edited, this.others);
    if (text === this.text) return;
    this.text = text;
    this.history.add(text);
    this.on.change(text);
    this.draw();
  }

  goBack(by) {
    if (this.readOnly) return;
    const text = this.history.go(by);
    if (text === this.text) return;
    this.take(text);
    this.on.change(text);
  }

  removeSelected() {
    if (this.selected >= 0 && !this.readOnly) this.commit(regions.removed(this.regions, this.selected), -1);
  }

  type(edge, text) {
    const to = regions.readTime(text);
    const fits = Number.isFinite(to) && this.selected >= 0 && !this.readOnly;
    if (fits) this.commit(regions.resized(this.regions, this.selected, edge, to, this.duration));
    else this.draw();
  }

  setCursor(at) {
    Object.assign(this, { cursor: at, selected: -1 });
    if (this.player.plays) this.player.play(at, this.duration);
    this.look(regions.showing(this.view, at, this.duration));
  }

  select(index) {
    this.selected = index;
    if (index >= 0) this.look(regions.showing(this.view, this.regions[index].start, this.duration));
    this.draw();
  }

  // ---- play ----

  /** Plays the selected region, with its surroundings or without, or from the cursor on; stops what plays. */
  toggle(withSurroundings) {
    const around = withSurroundings ? SURROUNDINGS_SECONDS : 0;
    if (this.player.plays) return this.player.stop();
    if (!this.duration) return;
    const region = this.regions[this.selected];
    const [from, to] = region ? [region.start, region.end] : [this.cursor, this.duration];
    this.player.play(Math.max(0, from - around), Math.min(this.duration, region ? to + around : to));
  }

  showHead(at, plays) {
    this.controls.showPlaying(plays);
    if (plays) this.view = this.follow(at);
    this.drawing.drawHead(plays ? at : undefined, this.view);
  }

  /** The view with the place that plays in it, unless a user drags. */
  follow(at) {
    const view = this.gestures.drag ? this.view : regions.showing(this.view, at, this.duration);
    if (view !== this.view) this.look(view);
    return view;
  }

  remove() {
    this.peaks.stop();
    this.player.remove();
  }
}

const rangeText = ({ start, end }) => `${regions.timeText(start, 2)} to ${regions.timeText(end, 2)}`;

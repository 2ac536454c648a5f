// Draws a sound with its regions: a ruler, the waveform, beats, regions, the cursor, and below a bar that shows and moves
// the part that is seen. The waveform lies in seconds from left to right, so that zoom and scroll only move its view box.

import { ACCENT, html, svg } from "./elements.js";
import { gain } from "./waveform.js";
import { gridLines, rulerMarks } from "./regions.js";

const RULER_HEIGHT = 15;
const WAVE_HEIGHT = 96;
const BAR_HEIGHT = 9;
export const DRAWING_HEIGHT = RULER_HEIGHT + WAVE_HEIGHT + BAR_HEIGHT + 3;
const LEAST_PX = { mark: 48, line: 9, number: 26 }; // between marks of the ruler, lines of the grid, numbers of bars

const RULER_CSS = `position:relative;flex:0 0 auto;height:${RULER_HEIGHT}px;overflow:hidden;font-size:10px;cursor:pointer`;
const FRAME_CSS =
  `position:relative;flex:0 0 auto;height:${WAVE_HEIGHT}px;overflow:hidden;border-radius:4px;touch-action:none;` +
  "background:var(--comfy-input-bg);cursor:crosshair;";
const BAR_CSS =
  `position:relative;flex:0 0 auto;height:${BAR_HEIGHT}px;margin-top:3px;border-radius:4px;overflow:hidden;` +
  "background:var(--comfy-input-bg);touch-action:none;cursor:pointer;";
const THUMB_CSS =
  "position:absolute;top:0;bottom:0;border-radius:4px;background:var(--descrip-text);opacity:.45;min-width:8px;";
const MARK_CSS = "position:absolute;top:0;padding-left:3px;border-left:1px solid;white-space:nowrap;line-height:13px;";
const REGION_CSS = "position:absolute;top:0;bottom:0;box-sizing:border-box;pointer-events:none;";
const EDGE_CSS = "position:absolute;top:0;bottom:0;width:5px;pointer-events:none;";
const LINE_CSS = "position:absolute;top:0;bottom:0;width:0;pointer-events:none;display:none;";
const HINT_CSS =
  "position:absolute;inset:0;display:grid;place-items:center;text-align:center;padding:0 12px;pointer-events:none;";
const NUMBER_CSS =
  "position:absolute;bottom:1px;padding-left:2px;font-size:9px;line-height:11px;color:var(--input-text);opacity:.85;" +
  "text-shadow:0 0 2px var(--comfy-input-bg),0 0 3px var(--comfy-input-bg);pointer-events:none;";
const COVERED = `color-mix(in srgb, ${ACCENT} 22%, transparent)`;
const CHOSEN = `color-mix(in srgb, ${ACCENT} 36%, transparent)`;

let drawingNumber = 0;

export class Drawing {
  constructor() {
    this.clip = `acestep-regions-${++drawingNumber}`;
    this.ruler = html("div", RULER_CSS);
    this.frame = html("div", FRAME_CSS);
    this.bar = html("div", BAR_CSS);
    this.thumb = html("div", THUMB_CSS);
    this.marks = html("div", "position:absolute;inset:0;pointer-events:none");
    this.spots = html("div", "position:absolute;inset:0;pointer-events:none"); // of regions, on the bar
    this.bar.append(this.spots, this.thumb);
    this.grid = svg("g", {});
    this.clips = svg("clipPath", { id: this.clip });
    this.quiet = svg("path", { fill: "var(--descrip-text)", "fill-opacity": 0.75 });
    this.loud = svg("path", { fill: ACCENT, "clip-path": `url(#${this.clip})` });
    const box = { preserveAspectRatio: "none", width: "100%", height: "100%" };
    this.wave = svg("svg", box, this.clips, this.grid, this.quiet, this.loud);
    this.wave.style.cssText = "display:block;pointer-events:none";
    this.regions = html("div", "position:absolute;inset:0;pointer-events:none");
    this.cursor = html("div", `${LINE_CSS}border-left:1px dashed var(--input-text);opacity:.8`);
    this.head = html("div", `${LINE_CSS}border-left:2px solid var(--input-text)`);
    this.hint = html("div", HINT_CSS);
    this.frame.append(this.wave, this.marks, this.regions, this.cursor, this.head, this.hint);
    this.elements = [this.ruler, this.frame, this.bar];
  }

  /** Pairs [lowest, highest] of thousandths, evenly from `start` to `end` seconds; null for no waveform. */
  setPeaks(peaks) {
    if (!peaks) this.scale = null;
    const path = peaks ? this.path(peaks) : "";
    this.quiet.setAttribute("d", path);
    this.loud.setAttribute("d", path);
  }

  path({ pairs, start, end }) {
    const scaled = pairs.map(([low, high]) => [low / 1000, high / 1000]);
    this.scale ??= gain(scaled); // of the whole sound, which is asked for first: zoom does not change heights
    const wide = (end - start) / pairs.length;
    const edge = (value) => Math.min(0.98, Math.max(-0.98, value * this.scale));
    return scaled
      .map(([low, high], column) => {
        const [top, bottom] = [Math.min(-0.012, -edge(high)), Math.max(0.012, -edge(low))];
        const x = (start + column * wide).toFixed(4);
        return `M${x} ${top.toFixed(3)}h${wide.toFixed(4)}V${bottom.toFixed(3)}h-${wide.toFixed(4)}z`;
      })
      .join("");
  }

  /** Everything but the waveform itself. `state`: view, duration, regions, selected, cursor, beats, snap, hint. */
  draw(state) {
    const { view, duration, hint } = state;
    this.hint.textContent = hint;
    this.wave.setAttribute("viewBox", `${view.start} -1 ${Math.max(view.span, 0.001)} 2`);
    const width = this.frame.clientWidth || 400;
    this.ruler.replaceChildren(...(duration ? this.rulerParts(view, width) : []));
    this.drawGrid(state, width);
    this.drawRegions(state);
    this.place(this.cursor, state.cursor, view, Boolean(duration) && state.selected < 0);
    const isWhole = !duration || view.span >= duration - 1e-6;
    this.bar.style.visibility = isWhole ? "hidden" : "";
    this.thumb.style.left = `${(100 * view.start) / (duration || 1)}%`;
    this.thumb.style.width = `${(100 * view.span) / (duration || 1)}%`;
  }

  rulerParts(view, width) {
    const marks = rulerMarks(view, (LEAST_PX.mark * view.span) / width);
    return marks.map(({ at, text }) => {
      const mark = html("span", MARK_CSS, { textContent: text });
      mark.style.left = `${percent(at, view)}%`;
      return mark;
    });
  }

  drawGrid({ view, beats, snap, duration }, width) {
    const shown = duration && snap !== "off" ? beats : null;
    const end = Math.min(view.start + view.span, duration ?? 0);
    const lines = gridLines(shown, view.start, end, (LEAST_PX.line * view.span) / width);
    this.grid.replaceChildren(...lines.map(({ at, bar }) => gridLine(at, bar)));
    const bars = lines.filter(({ bar }) => bar);
    const apart = bars.length > 1 ? ((bars[1].at - bars[0].at) / view.span) * width : width;
    const every = Math.max(1, Math.ceil(LEAST_PX.number / apart));
    const numbered = bars.filter(({ bar }, index) => (bar - 1) % every === 0 || (every === 1 && index === 0));
    this.marks.replaceChildren(
      ...numbered.map(({ at, bar }) => {
        const mark = html("span", NUMBER_CSS, { textContent: String(bar) });
        mark.style.left = `${percent(at, view)}%`;
        return mark;
      }),
    );
  }

  drawRegions({ regions: all, selected, view, duration }) {
    const regions = duration ? all : [];
    const boxes = regions.map(({ start, end }, index) => {
      const box = html("div", REGION_CSS);
      box.style.left = `${percent(start, view)}%`;
      box.style.width = `${(100 * (end - start)) / view.span}%`;
      box.style.background = index === selected ? CHOSEN : COVERED;
      const edge = `border:0 solid ${index === selected ? "var(--input-text)" : ACCENT};`;
      box.append(html("div", `${EDGE_CSS}left:0;${edge}border-left-width:2px`));
      box.append(html("div", `${EDGE_CSS}right:0;${edge}border-right-width:2px`));
      return box;
    });
    this.regions.replaceChildren(...boxes);
    const areas = regions.map(({ start, end }) => ({ x: start, y: -1, width: Math.max(0, end - start), height: 2 }));
    this.clips.replaceChildren(...areas.map((area) => svg("rect", area)));
    this.spots.replaceChildren(
      ...regions.map(({ start, end }) => {
        const spot = html("div", `position:absolute;top:0;bottom:0;background:${ACCENT};opacity:.7;min-width:2px`);
        spot.style.left = `${(100 * start) / (duration || 1)}%`;
        spot.style.width = `${(100 * (end - start)) / (duration || 1)}%`;
        return spot;
      }),
    );
  }

  /** The line where it plays; undefined hides it. */
  drawHead(at, view) {
    this.place(this.head, at, view, at !== undefined);
  }

  place(line, at, view, isShown) {
    line.style.display = isShown ? "block" : "none";
    if (isShown) line.style.left = `${percent(at, view)}%`;
  }
}

const percent = (at, view) => (100 * (at - view.start)) / view.span;

function gridLine(at, bar) {
  const opacity = bar ? 0.5 : 0.2;
  const drawn = { stroke: "var(--descrip-text)", "stroke-opacity": opacity, "stroke-width": 1 };
  return svg("line", { x1: at, x2: at, y1: -1, y2: 1, "vector-effect": "non-scaling-stroke", ...drawn });
}

// The rows below a waveform with regions: buttons, and the start and end of the region that is selected.

import { ACCENT, BUTTON_CSS, html, legible, svg, WARNING } from "./elements.js";
import { barsText, number, timeText } from "./regions.js";
import { TOOLS_HEIGHT } from "./sound_group.js";

const BUTTONS_HEIGHT = 22;
const FACTS_HEIGHT = 20;
const GAP = 3;
export const CONTROLS_HEIGHT = TOOLS_HEIGHT + BUTTONS_HEIGHT + FACTS_HEIGHT + 3 * GAP;

const ICONS = {
  play: "M8 5.5v13l10.5-6.5z",
  stop: "M6.5 6.5h11v11h-11z",
  around: "M2.5 5h2v14h-2zM19.5 5h2v14h-2zM8.5 6.500v11l8-5.500z",
  out: "M5 11h14v2H5z",
  in: "M11 5h2v6h6v2h-6v6h-2v-6H5v-2h6z",
  fit: "M3 5h2v14H3zM19 5h2v14h-2zM6 12l4-4v3h4V8l4 4-4 4v-3h-4v3z",
  undo: "M8 5v4h6a5 5 0 0 1 0 10H9v-2h5a3 3 0 0 0 0-6H8v4L2.5 10z",
  redo: "M16 5v4h-6a5 5 0 0 0 0 10h5v-2h-5a3 3 0 0 1 0-6h6v4l5.5-5z",
  remove: "M9 3h6v2h5v2H4V5h5zM6 8h12l-1 13H7z",
  file: "M11 15V8.500L8.5 11 7 9.6 12 4.500l5 5.100L15.5 11 13 8.500V15zM4 14h2v4h12v-4h2v6H4z",
};
export const SNAPS = ["beats", "bars", "off"];

const ROW_CSS = "display:flex;align-items:center;gap:3px;flex:0 0 auto;white-space:nowrap;overflow:hidden;";
const ICON_CSS = `${BUTTON_CSS}display:grid;place-items:center;flex:0 0 auto;width:22px;height:20px;padding:0;border-radius:5px;`;
const WORD_CSS =
  `${BUTTON_CSS}flex:0 1 auto;min-width:30px;height:20px;padding:0 7px;border-radius:9px;` +
  "overflow:hidden;text-overflow:ellipsis;white-space:nowrap;";
const TIME_CSS =
  "box-sizing:border-box;flex:0 0 auto;width:58px;height:18px;padding:0 4px;font:inherit;border-radius:4px;" +
  "border:1px solid var(--border-color);background:var(--comfy-input-bg);color:var(--input-text);";
const CUT_CSS = "overflow:hidden;text-overflow:ellipsis;min-width:0;";

export class Controls {
  /** `on`: what each button does, by its name; `on.type(edge, text)` takes a time that a user typed. */
  constructor(tools, on) {
    this.on = on;
    this.play = this.button("play", "Play the selected region, or from the cursor (Space)");
    this.around = this.button("around", "Play it with 2 seconds before and behind it (Shift+Space)");
    tools.prepend(this.play, this.around);
    this.element = html("div", `display:flex;flex-direction:column;gap:${GAP}px;flex:0 0 auto;margin-top:${GAP}px`);
    this.element.append(tools, this.buildButtons(), this.buildFacts());
  }

  buildButtons() {
    this.snap = this.plain(html("button", WORD_CSS, { type: "button" }), () => this.on.snap());
    this.undo = this.button("undo", "Undo (Ctrl+Z)");
    this.redo = this.button("redo", "Redo (Ctrl+Shift+Z)");
    this.remove = this.button("remove", "Delete the selected region (Delete)");
    this.file = this.button("file", "Choose a sound file from this computer; it can be dropped here, too");
    const zoom = [
      this.button("out", "Zoom out (−, or the wheel after a click on the waveform)"),
      this.button("in", "Zoom in (+, or the wheel after a click on the waveform)"),
      this.button("fit", "Show all of it (0)"),
    ];
    const row = html("div", `${ROW_CSS}height:${BUTTONS_HEIGHT}px`);
    row.append(this.snap, html("span", "flex:1 1 0"), ...zoom);
    row.append(this.undo, this.redo, this.remove, this.file);
    return row;
  }

  buildFacts() {
    this.start = this.time("start");
    this.end = this.time("end");
    this.dash = html("span", "", { textContent: "–" });
    this.length = html("span", `${CUT_CSS}flex:0 1 auto;color:var(--input-text);font-variant-numeric:tabular-nums`);
    this.words = html("span", `${CUT_CSS}flex:1 1 auto;text-align:right`);
    const row = html("div", `${ROW_CSS}height:${FACTS_HEIGHT}px`);
    row.append(this.start, this.dash, this.end, this.length, this.words);
    return row;
  }

  button(name, title) {
    const button = html("button", ICON_CSS, { type: "button", title });
    button.ariaLabel = title;
    const path = svg("path", { d: ICONS[name], fill: "currentColor" });
    button.append(svg("svg", { viewBox: "0 0 24 24", width: 16, height: 16 }, path));
    return this.plain(button, () => this.on[name]());
  }

  /** A button that leaves the keyboard where it is, so that keys go on to work after a click. */
  plain(button, then) {
    button.addEventListener("pointerdown", (event) => event.stopPropagation());
    button.addEventListener("mousedown", (event) => event.preventDefault());
    button.addEventListener("click", then);
    return button;
  }

  time(edge) {
    const input = html("input", TIME_CSS, { type: "text", spellcheck: false, title: `${edge} in seconds, or 1:05.5` });
    input.ariaLabel = `${edge} of the selected region`;
    for (const kind of ["pointerdown", "keydown", "wheel"]) {
      input.addEventListener(kind, (event) => event.stopPropagation());
    }
    input.addEventListener("keydown", ({ key }) => key === "Enter" && input.blur());
    input.addEventListener("change", () => this.on.type(edge, input.value));
    return input;
  }

  /** The state of an editor. */
  show(editor) {
    const region = editor.regions[editor.selected];
    for (const [edge, input] of Object.entries({ start: this.start, end: this.end })) {
      input.style.display = this.dash.style.display = region ? "" : "none";
      if (region && document.activeElement !== input) input.value = number(region[edge]);
      input.disabled = editor.readOnly;
    }
    this.length.textContent = region ? lengthText(region, editor.beats) : "";
    this.words.textContent = this.words.title = warningOf(editor) || wordsOf(editor, region);
    this.words.style.color = warningOf(editor) ? legible(WARNING) : "";
    this.showSnap(editor);
    this.enable(editor, region);
  }

  showSnap({ snap, beats }) {
    const isOff = snap === "off";
    const tempo = beats && !isOff ? ` · ${Number((60 / beats.beat).toFixed(1))} bpm` : "";
    this.snap.textContent = `snap: ${snap}${tempo}`;
    const lacks = beats || isOff ? "" : " once the tempo is known: set bpm";
    this.snap.title = isOff
      ? "Edges of regions do not snap"
      : `Edges of regions snap to ${snap}${tempo}${lacks}; hold Alt to place one anywhere`;
    this.snap.style.color = beats && !isOff ? legible(ACCENT) : "var(--input-text)";
  }

  enable({ duration, history, readOnly, takesFiles }, region) {
    for (const name of ["play", "around"]) enable(this[name], duration);
    enable(this.undo, history?.canUndo && !readOnly);
    enable(this.redo, history?.canRedo && !readOnly);
    enable(this.remove, region && !readOnly);
    this.file.style.display = takesFiles ? "" : "none";
  }

  showPlaying(plays) {
    this.play.querySelector("path").setAttribute("d", plays ? ICONS.stop : ICONS.play);
  }
}

function enable(button, isEnabled) {
  button.disabled = !isEnabled;
  button.style.opacity = isEnabled ? "" : 0.4;
}

function lengthText(region, beats) {
  return [`${number(region.end - region.start)} s`, barsText(region, beats)].filter(Boolean).join(" · ");
}

/** What is wrong with the sound, or with the text of a region. */
function warningOf({ warning, others, duration }) {
  if (warning || !others.length || !duration) return warning;
  return `${others[0].text} ${others[0].why}`;
}

function wordsOf({ regions, selected, duration, sound, readOnly }, region) {
  if (!duration) return "";
  if (region) return regions.length > 1 ? `${selected + 1} of ${regions.length}` : "";
  const length = `${sound.name} · ${timeText(duration, 1)}`;
  return regions.length || readOnly ? length : `drag to draw a region · ${length}`;
}

// The arithmetic of a loss curve: where its points lie in a box of 100 x 100, and what is written beside it. Nothing of
// ComfyUI, nothing of the page.

/** Percent from the left of a step, and from the top of a loss between `ends` [low, high]. */
export function place(step, loss, of, [low, high]) {
  const x = (100 * step) / Math.max(1, of);
  const up = high > low ? (loss - low) / (high - low) : 0.5;
  return { x, y: 100 * (1 - Math.min(1, Math.max(0, up))) };
}

/** Pairs [step, loss] -> an SVG path through them. */
export function linePath(pairs, of, ends) {
  return pairs
    .map(([step, loss], index) => {
      const { x, y } = place(step, loss, of, ends);
      return `${index ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(2)}`;
    })
    .join("");
}

/** Pairs [step, loss] -> an SVG path of dots: lines without length, whose round ends are seen. */
export function dotsPath(pairs, of, ends) {
  return pairs
    .map(([step, loss]) => {
      const { x, y } = place(step, loss, of, ends);
      return `M${x.toFixed(2)} ${y.toFixed(2)}h0.01`;
    })
    .join("");
}

/** 1.23456 -> "1.235"; four digits, as many as a loss is worth. */
export function lossText(loss) {
  return Number.isFinite(loss) ? loss.toPrecision(4) : "–";
}

/** "step-000250.flac" -> "step 250", "step-000250-without.flac" -> "step 250 without". */
export function previewLabel(filename) {
  return filename
    .replace(/\.[a-z0-9]+$/i, "")
    .replace(/-+/g, " ")
    .replace(/\b0+(?=\d)/g, "");
}

// The arithmetic and the words of an audio player: peaks of a waveform, the clock, where a click falls. Nothing of
// ComfyUI, nothing of the page.

/** Channels of samples -> `columns` pairs [lowest, highest], over all channels. */
export function peaks(channels, columns) {
  const length = channels[0]?.length ?? 0;
  return Array.from({ length: columns }, (_, column) => {
    const first = Math.floor((column * length) / columns);
    const last = Math.max(first + 1, Math.floor(((column + 1) * length) / columns));
    return extremes(channels, first, Math.min(last, length));
  });
}

function extremes(channels, first, last) {
  let low = 0;
  let high = 0;
  for (const samples of channels) {
    for (let i = first; i < last; i++) {
      const value = samples[i];
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return [low, high];
}

/** How much the loudest peak is to be enlarged to fill the height; quiet music is enlarged up to `most` times. */
export function gain(pairs, most = 8) {
  const loudest = pairs.reduce((found, [low, high]) => Math.max(found, high, -low), 0);
  return loudest > 0 ? Math.min(most, 1 / loudest) : 1;
}

/** Pairs -> an SVG path of one bar a column, in a box of one unit a column and of the height 2 (from -1 to 1). */
export function barsPath(pairs, { scale = 1, bar = 0.6, least = 0.04 } = {}) {
  const left = (1 - bar) / 2;
  return pairs
    .map(([low, high], column) => {
      const top = -Math.max(least, Math.min(1, high * scale));
      const bottom = Math.max(least, Math.min(1, -low * scale));
      const across = bar.toFixed(2);
      return `M${(column + left).toFixed(2)} ${top.toFixed(3)}h${across}V${bottom.toFixed(3)}h-${across}z`;
    })
    .join("");
}

/** 75.4 -> "1:15"; an hour has "1:02:03"; what is not known is "–:––". */
export function clock(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "–:––";
  const whole = Math.floor(seconds);
  const two = (value) => String(value).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${two(whole % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

/** A pointer's x, a box {left, width} in the same pixels, and a duration -> seconds. */
export function secondsAt(x, box, duration) {
  if (!(box.width > 0) || !Number.isFinite(duration)) return 0;
  return Math.min(1, Math.max(0, (x - box.left) / box.width)) * duration;
}

/** Where a take goes on, in seconds, when it is played in the place of another one that is at `at`; 0 past its end. */
export function switchedTo(at, duration) {
  const left = duration - at;
  return Number.isFinite(left) && left > 0.05 ? at : 0;
}

/** Whether two takes are of one length, and so probably of one song; not if a length is not known. */
export function sameLength(one, other) {
  return Math.abs(one - other) < 0.1;
}

/** 0 -> "A", 25 -> "Z", 26 -> "27". */
export function letterOf(index) {
  return index < 26 ? String.fromCharCode(65 + index) : String(index + 1);
}

/** What is known of a take: "seed 7 · −14.2 LUFS"; parts that are not known are left out. */
export function takeText({ seed, lufs } = {}) {
  const parts = [seed != null && `seed ${seed}`, lufs != null && `${lufs.toFixed(1).replace("-", "−")} LUFS`];
  return parts.filter(Boolean).join(" · ");
}

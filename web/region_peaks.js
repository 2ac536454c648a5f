// The peaks of the part of a sound that is seen: asked for anew where what is there is too coarse or of another part.

const COLUMNS = 480; // of what is seen; as much is asked for on either side
const SETTLE_MS = 90; // after zoom and scroll
const ENOUGH = [0.7, 4]; // times as many columns as wanted

export class Peaks {
  /** `take({pairs, start, end})` draws them, `fail(message)` says why there are none. */
  constructor(take, fail) {
    Object.assign(this, { taken: take, fail });
  }

  /** Peaks of all of a sound, which tell its length; null where they cannot be had. */
  async start(sound) {
    this.stop();
    Object.assign(this, { sound, loaded: null, seconds: undefined });
    const peaks = await this.ask(0, Number.MAX_SAFE_INTEGER, COLUMNS);
    if (peaks) this.seconds = peaks.seconds;
    if (peaks) this.take(peaks.pairs, 0, peaks.seconds);
    return peaks;
  }

  /** Finer ones, or those of another part, where a view needs them. */
  show({ start, span }) {
    clearTimeout(this.settle);
    if (!this.loaded || this.suits(start, span)) return;
    this.settle = setTimeout(async () => {
      const [from, to] = [Math.max(0, start - span), Math.min(this.seconds, start + 2 * span)];
      const peaks = await this.ask(from, to, Math.ceil((COLUMNS * (to - from)) / span));
      if (peaks) this.take(peaks.pairs, from, to);
    }, SETTLE_MS);
  }

  suits(start, span) {
    const covers = this.loaded.start <= start + 1e-6 && this.loaded.end >= start + span - 1e-6;
    const times = (this.loaded.density * span) / COLUMNS;
    return covers && ENOUGH[0] <= times && times <= ENOUGH[1];
  }

  take(pairs, start, end) {
    this.loaded = { start, end, density: pairs.length / (end - start) };
    this.taken({ pairs, start, end });
  }

  async ask(start, end, columns) {
    this.asking?.abort();
    const { signal } = (this.asking = new AbortController());
    try {
      return await this.sound.peaks(start, end, columns, signal);
    } catch (error) {
      if (!signal.aborted) this.fail(error.message);
      return null;
    }
  }

  stop() {
    clearTimeout(this.settle);
    this.asking?.abort();
  }
}

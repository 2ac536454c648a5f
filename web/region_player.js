// Plays a part of a sound file, once or in a loop, as one of the players of a page of which one sounds at a time.

const END_SECONDS = 0.03; // a loop turns so long before the file's end, where the browser would go to its beginning

export class PartPlayer {
  part = null; // [from, to] that plays

  /** `onTime(seconds, plays)` is called while it plays and when that ends, `onError()` where the browser cannot. */
  constructor(group, { onTime, onError }) {
    Object.assign(this, { group, onTime });
    this.audio = new Audio();
    this.audio.preload = "none";
    for (const kind of ["play", "pause", "ended"]) this.audio.addEventListener(kind, () => this.changed());
    this.audio.addEventListener("timeupdate", () => this.turn()); // a page that is not seen draws no frames
    this.audio.addEventListener("error", () => this.audio.getAttribute("src") && onError());
    this.onError = onError;
    group.add(this);
  }

  /** The file, null for none; what plays goes on if it is the same. */
  load(url, seconds) {
    this.seconds = seconds;
    if (url === this.url) return;
    this.stop();
    this.url = url;
    if (url) this.audio.src = url;
    else this.audio.removeAttribute("src");
  }

  get plays() {
    return !this.audio.paused && !this.audio.ended;
  }

  async play(from, to) {
    this.part = [from, to];
    this.audio.currentTime = from;
    try {
      await this.audio.play();
    } catch (error) {
      if (error.name !== "AbortError") this.onError();
    }
  }

  stop() {
    this.audio.pause();
  }

  changed() {
    if (this.plays) this.group.playing(this);
    else this.group.stopped(this);
    this.onTime(this.audio.currentTime, this.plays);
    if (this.plays) this.follow();
  }

  follow() {
    requestAnimationFrame(() => {
      if (!this.plays) return;
      this.turn();
      this.onTime(this.audio.currentTime, this.plays);
      this.follow();
    });
  }

  /** At the end of its part it stops, or begins again. */
  turn() {
    if (!this.part || !this.plays) return;
    const [from, to] = this.part;
    const end = this.group.loop ? Math.min(to, (this.seconds ?? Infinity) - END_SECONDS) : to;
    if (this.audio.currentTime < end) return;
    if (this.group.loop) this.audio.currentTime = from;
    else this.stop();
  }

  remove() {
    this.load(null);
    this.group.remove(this);
  }
}

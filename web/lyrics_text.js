// Sections of lyrics, and the words of their counter. Nothing of ComfyUI, nothing of the page.

export const SECTIONS = ["Intro", "Verse", "Pre-Chorus", "Chorus", "Bridge", "Solo", "Outro"];

const INSTRUMENTAL = "[Instrumental]"; // lyrics of a song without a voice

/**
 * Where `[section]` goes into lyrics whose selection is `start` to `end`: {from, to, text}, `text` in the place of what
 * is there. The tag has a line of its own, with an empty line before it; lyrics that say "nobody sings" give way to it.
 */
export function sectionInsertion(lyrics, start, end, section) {
  if (lyrics.trim() === INSTRUMENTAL) return { from: 0, to: lyrics.length, text: `[${section}]\n` };
  const before = lyrics.slice(0, start);
  const breaks = before.trim() === "" ? 0 : Math.max(0, 2 - before.match(/\n*$/)[0].length);
  const after = lyrics.slice(end).startsWith("\n") ? "" : "\n";
  return { from: start, to: end, text: `${"\n".repeat(breaks)}[${section}]${after}` };
}

/** "212 of 2,048 tokens" */
export function tokensText({ tokens, most }) {
  return `${tokens.toLocaleString("en")} of ${most.toLocaleString("en")} tokens`;
}

/** What the counter says of {lyrics, caption}: {text, tooLong}; the caption only where it is too long. */
export function counterText({ lyrics, caption }) {
  const long = [caption && caption.tokens > caption.most && `caption ${tokensText(caption)}`];
  const text = [...long, `lyrics ${tokensText(lyrics)}`].filter(Boolean).join(", ");
  return { text, tooLong: Boolean(long[0]) || lyrics.tokens > lyrics.most };
}

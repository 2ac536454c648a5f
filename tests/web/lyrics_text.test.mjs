import assert from "node:assert/strict";
import { test } from "node:test";

import { counterText, sectionInsertion, tokensText } from "../../web/lyrics_text.js";

/** Lyrics after an insertion at "|", or in the place of what stands between two of them. */
function inserted(marked, section) {
  const start = marked.indexOf("|");
  const lyrics = marked.replaceAll("|", "");
  const end = marked.lastIndexOf("|") === start ? start : marked.lastIndexOf("|") - 1;
  const { from, to, text } = sectionInsertion(lyrics, start, end, section);
  return lyrics.slice(0, from) + text + lyrics.slice(to);
}

test("a section stands on a line of its own, after an empty one", () => {
  assert.equal(inserted("|", "Verse"), "[Verse]\n");
  assert.equal(inserted("first line|", "Chorus"), "first line\n\n[Chorus]\n");
  assert.equal(inserted("first line\n|", "Chorus"), "first line\n\n[Chorus]\n");
  assert.equal(inserted("first line\n\n|", "Chorus"), "first line\n\n[Chorus]\n");
  assert.equal(inserted("one\n|two", "Bridge"), "one\n\n[Bridge]\ntwo");
  assert.equal(inserted("one|\ntwo", "Bridge"), "one\n\n[Bridge]\ntwo");
});

test("a section takes the place of what is selected", () => {
  assert.equal(inserted("one\n\n|[Verse]|\ntwo", "Chorus"), "one\n\n[Chorus]\ntwo");
});

test("a section takes the place of lyrics that say that nobody sings", () => {
  assert.equal(inserted("[Instrumental]|", "Verse"), "[Verse]\n");
  assert.equal(inserted(" [Instrumental]\n|", "Verse"), "[Verse]\n");
  assert.equal(inserted("[Verse]\na\n\n[Instrumental]|", "Outro"), "[Verse]\na\n\n[Instrumental]\n\n[Outro]\n");
});

test("tokens are counted up to the most", () => {
  assert.equal(tokensText({ tokens: 1212, most: 2048 }), "1,212 of 2,048 tokens");
});

test("the counter names what is too long", () => {
  const lyrics = { tokens: 12, most: 2048 };
  const caption = { tokens: 40, most: 256 };
  assert.deepEqual(counterText({ lyrics, caption }), { text: "lyrics 12 of 2,048 tokens", tooLong: false });
  assert.equal(counterText({ lyrics: { tokens: 2049, most: 2048 }, caption }).tooLong, true);
  const long = counterText({ lyrics, caption: { tokens: 300, most: 256 } });
  assert.deepEqual(long, { text: "caption 300 of 256 tokens, lyrics 12 of 2,048 tokens", tooLong: true });
});

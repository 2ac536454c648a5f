import json
from pathlib import Path

import pytest
from acestep_pack.acestep_core.prompt import INSTRUCTIONS, lyrics_prompt, text_prompt
from acestep_pack.acestep_core.song import Song

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "prompts_and_schedules.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["prompts"], ids=lambda case: case["input"]["caption"])
def test_prompts_are_byte_exact(case):
    given = case["input"]
    song = Song(
        caption=given["caption"],
        lyrics=given["lyrics"],
        bpm=given.get("bpm") or None,  # the original reads 0 as unset
        key=given.get("key_scale"),
        time_signature=given.get("time_signature"),
        language=given.get("vocal_language", "unknown"),
        seconds=given["duration"] or 30,
    )
    track = given.get("track_name", "").upper()
    instruction = INSTRUCTIONS[given.get("task_type", "text2music")].format(TRACK=track)
    assert text_prompt(song, instruction) == case["text"]
    assert lyrics_prompt(song) == case["lyrics"]

"""What a song's file says of itself."""

import pytest
from acestep_pack.acestep_core.audio.song_tags import song_tags
from acestep_pack.acestep_core.song import Song


@pytest.mark.parametrize(
    ("caption", "given", "title"),
    [
        ("\n lo-fi\nrain", None, "lo-fi"),
        ("lo-fi", "Rain", "Rain"),
        ("  ", None, "Untitled"),
        ("x" * 99, None, "x" * 80),
    ],
)
def test_a_title_is_the_one_given_or_the_captions_first_line(caption, given, title):
    assert song_tags(Song(caption), {}, title=given)["title"] == title

"""The chats that a planner was trained on, to the byte: an instruction, a request, the beginning of the answer."""

from collections.abc import Sequence

from ..song import INSTRUMENTAL
from .vocabulary import END, START, code_token

GENERATE = "Generate audio semantic tokens based on the given conditions:"
UNDERSTAND = "Understand the given musical conditions and describe the audio semantics accordingly:"
WRITE = "Expand the user's input into a more detailed and specific musical description:"
REWRITE = "Format the user's input into a more detailed and specific musical description:"

NO_INPUT = "NO USER INPUT"
_EMPTY_THOUGHTS = "<think>\n\n</think>"


def _chat(instruction: str, request: str, answer: str = "") -> str:
    """A chat whose last turn, the assistant's, is left open after `answer`."""
    turns = ("system", f"# Instruction\n{instruction}\n\n"), ("user", request)
    written = "".join(f"{START}{role}\n{content}{END}\n" for role, content in turns)
    return f"{written}{START}assistant\n{answer}"


def plan_prompt(caption: str, lyrics: str) -> str:
    """The prompt of the metadata of a song."""
    return _chat(GENERATE, _described(caption, lyrics))


def codes_prompt(caption: str, lyrics: str, thoughts: str) -> str:
    """The prompt of a song's audio codes, after a think block."""
    return _chat(GENERATE, _described(caption, lyrics), f"{thoughts}\n\n")


def unconditional_codes_prompt(negative: str = "") -> str:
    """The prompt of audio codes of no song in particular, or of what a song shall not be."""
    return _chat(GENERATE, negative if negative.strip() else NO_INPUT, f"{_EMPTY_THOUGHTS}\n\n")


def understand_prompt(codes: Sequence[int]) -> str:
    """The prompt of the description of audio codes; without codes, of an invented song."""
    return _chat(UNDERSTAND, "".join(map(code_token, codes)) or NO_INPUT)


def write_prompt(line: str, instrumental: bool = False) -> str:
    """The prompt of a song from one line."""
    return _chat(WRITE, f"{line or NO_INPUT}\n\ninstrumental: {str(instrumental).lower()}")


def rewrite_prompt(caption: str, lyrics: str) -> str:
    """The prompt of a caption and lyrics in better words."""
    return _chat(REWRITE, f"# Caption\n{caption or NO_INPUT}\n\n# Lyric\n{lyrics or INSTRUMENTAL}")


def _described(caption: str, lyrics: str) -> str:
    return f"# Caption\n{caption}\n\n# Lyric\n{lyrics}\n"

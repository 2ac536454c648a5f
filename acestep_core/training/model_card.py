"""The model card beside what was trained: a README in Markdown, with the metadata that the Hugging Face Hub reads.

A card is written anew while its last line stands; who edits it deletes the line.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from ..checkpoints.registry import known_model
from ..system.files import write_whole

CARD = "README.md"
MARK = "<!-- Written by acestep-cascade. Delete this line, and the next training leaves your card as it is. -->"
_TASK, _TAGS = "text-to-audio", ("music", "ace-step")


def card_path(target: Path) -> Path:
    """Of a folder the README in it, of a file the one of its name beside it."""
    return target.with_suffix(".md") if target.suffix == ".safetensors" else target / CARD


def write_card(target: Path, text: str) -> Path:
    """Writes the card of `target`, unless its user has taken it over. Raises AceStepError where it cannot."""
    path = card_path(target)
    if not path.exists() or MARK in path.read_text(encoding="utf-8", errors="replace"):
        write_whole(path, f"{text}\n{MARK}\n".encode())
    return path


def adapter_card(target: Path, kind: str, base: str, trigger: str | None, facts: Mapping[str, object]) -> str:
    """The card of an adapter for the stage model `base`; `facts` become its table."""
    library = None if target.suffix == ".safetensors" else "peft"
    head = _metadata(base, "adapter", library, kind.lower(), trigger)
    caption = f"{trigger}, warm piano" if trigger else "warm piano"
    return f"""{head}
# {target.stem}

{kind} for the ACE-Step 1.5 stage model `{base}`.

{_table({"trigger words, which a caption begins with": trigger, **facts})}

## How to use it

ComfyUI: put it into `models/loras`, and the node **Apply LoRA** between the stage model and its stage. From a shell:

```bash
acestep-cascade generate {_quoted(caption)} --m {base} --lora {_quoted(f"M={target.name}", "")} -o song.flac
```

## Data and licence

Whoever publishes this says here which clips it was trained on, and under which licence it may be used.
"""


def student_card(target: Path, teacher: str, facts: Mapping[str, object]) -> str:
    """The card of a stage model that was distilled from `teacher`; `facts` become its table."""
    return f"""{_metadata(teacher, "finetune", None, "distillation")}
# {target.name}

A stage model for the last steps of an ACE-Step 1.5 cascade, distilled from `{teacher}`.

{_table(facts)}

## How to use it

ComfyUI: put the folder into `models/acestep`, and choose it in **Load Cascade** as `s`. From a shell:

```bash
acestep-cascade generate "warm piano" --m {teacher} --s {_quoted(target.name, "")} -o song.flac
```

## Data and licence

The teacher's text and vocoder models go with it. Whoever publishes this says here which clips it was trained on, and
under which licence it may be used.
"""


def _quoted(text: str, usual: str = '"') -> str:
    """As a shell reads it: in `usual` quotes where nothing in it means anything to a shell."""
    plain = r"[\w ,.:;=+'()-]*" if usual else r"[\w.=+-]+"
    return f"{usual}{text}{usual}" if re.fullmatch(plain, text) else shlex.quote(text)


def _metadata(base: str, relation: str, library: str | None, tag: str, trigger: str | None = None) -> str:
    """The block of YAML at the top; the base is named where the hub knows it."""
    from huggingface_hub import ModelCardData

    known = known_model(base)
    hub = {"base_model": known.repo, "base_model_relation": relation} if known and known.repo else {}
    prompt = {"instance_prompt": trigger} if trigger else {}
    data = ModelCardData(library_name=library, pipeline_tag=_TASK, tags=[*_TAGS, tag], **hub, **prompt)
    return f"---\n{data.to_yaml()}\n---\n"


def _table(facts: Mapping[str, object]) -> str:
    rows = [f"| {name} | {_cell(value)} |" for name, value in facts.items() if value not in (None, "")]
    return "\n".join(["| | |", "|---|---|", *rows])


def _cell(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")

"""The workflow that a node runs in, for the tags of files."""

import json

from comfy.cli_args import args


def workflow_tags(hidden) -> dict[str, str]:
    """The prompt and workflow that a node ran in, for tags in which the front end finds them when a file is dropped.

    It reads them as plain ASCII from flac, mp3, ogg and opus, and not at all from wav. Of ogg and opus it sees the
    first 64 kB: the workflow comes last, so that the prompt, which can be laid out anew, is cut off only after it.
    """
    if args.disable_metadata:
        return {}
    others = hidden.extra_pnginfo or {}
    found = {"prompt": hidden.prompt, **{name: others[name] for name in sorted(others, key="workflow".__eq__)}}
    return {name: json.dumps(value, separators=(",", ":")) for name, value in found.items() if value is not None}

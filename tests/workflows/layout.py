"""Puts nodes in their places: a definition, and the workflow that the front end made of it -> what is shipped."""

from collections.abc import Iterator
from itertools import groupby

from workflows_tests.definitions import NEXT_ROW, App, Definition

COLUMN_GAP, ROW_GAP, TITLE = 60, 60, 30
GROUP_MARGIN, GROUP_TITLE = 20, 60
NOTE_LINE = 24
EDITS = ("Cover", "Repaint", "Extend", "Morph", "ExtractStem", "AddStem", "Complete")
# Width and height at least; the front end makes them larger where a node's content needs it.
SIZES = {
    "AceStepSong": (380, 420),
    "AceStepTextEncode": (270, 0),
    "AceStepEncodeAudio": (270, 0),
    "AceStepExampleClip": (270, 0),
    "AceStepStageL": (320, 0),
    "AceStepStageM": (320, 0),
    "AceStepStageS": (320, 0),
    "AceStepVocode": (420, 160),
    "AceStepSaveAudio": (420, 0),
    "AceStepLoadCascade": (380, 350),
    "AceStepLoadStageModel": (380, 0),
    "AceStepLoadTextEncoder": (380, 0),
    "AceStepLoadVocoder": (380, 0),
    "AceStepLoraDataset": (300, 260),
    "AceStepTrainLora": (420, 1020),
    "AceStepApplyLora": (340, 200),
    **{f"AceStep{kind}": (320, 0) for kind in EDITS},
    "AceStepPlayScore": (300, 0),
    "AceStepLoadPlanner": (380, 0),
    "AceStepWriteSong": (340, 0),
    "AceStepEditSong": (380, 460),
    "AceStepPlanSong": (340, 0),
    "AceStepUnderstandAudio": (320, 0),
    "AceStepScoreTakes": (420, 0),
    "AceStepLyricTimestamps": (320, 0),
    "PreviewAny": (380, 300),
    "AceStepRetake": (270, 0),
    "PreviewImage": (420, 280),
    "SaveVideo": (420, 400),
}
# Height that a node is left where it needs more than its own: in Nodes 2.0, and by the text, picture and players that a
# run adds.
ROOM = {
    "AceStepLoadCascade": 400,
    "AceStepLoadStageModel": 260,
    "AceStepLoadTextEncoder": 150,
    "AceStepLoadVocoder": 150,
    "AceStepTextEncode": 110,
    "AceStepEmptyLatent": 110,
    "AceStepExampleClip": 110,
    "AceStepEncodeAudio": 150,
    "AceStepReferenceEncode": 190,
    **dict.fromkeys((f"AceStep{kind}" for kind in EDITS), 360),
    "AceStepPlayScore": 200,
    "AceStepRetake": 220,
    "AceStepLoadPlanner": 200,
    "AceStepWriteSong": 640,
    "AceStepEditSong": 640,
    "AceStepPlanSong": 760,
    "AceStepUnderstandAudio": 400,
    "AceStepScoreTakes": 480,
    "AceStepLyricTimestamps": 330,
    "AceStepStageL": 660,
    "AceStepStageM": 660,
    "AceStepStageS": 660,
    "AceStepSaveAudio": 380,
    "AceStepSpectrogram": 170,
}
CUSTOM_STRETCH, SAVED_ROW = 60, 58  # more: for a stage's start and end, and for each song after the first
COLOURS = {"load": "#3f789e", "song": "#8a8", "stages": "#b58b2a", "sound": "#a1309b", "other": "#88a"}

Box = tuple[float, float, float, float]  # left, top, width, height


def numbers(prompt: dict) -> dict[str, str]:
    """Name of a node -> its number in the workflow."""
    return {name: str(i) for i, name in enumerate(prompt, start=1)}


def numbered(prompt: dict) -> dict:
    """The prompt with numbers for names, as the front end would give them."""
    number = numbers(prompt)

    def link(value):
        return [number[value[0]], value[1]] if isinstance(value, list) else value

    return {
        number[name]: {**node, "inputs": {key: link(value) for key, value in node["inputs"].items()}}
        for name, node in prompt.items()
    }


def laid_out(made: Definition, drawn: dict) -> dict:
    """The front end's workflow with every node in its place, in groups and beside notes."""
    nodes = dict(zip(made.prompt, sorted(drawn["nodes"], key=lambda node: int(node["id"]))))
    boxes = _boxes(made, nodes)
    for name, node in nodes.items():
        left, top, width, _ = boxes[name]
        node["pos"], node["size"] = [left, top], [width, _size(node)[1]]
        if name in made.titles:
            node["title"] = made.titles[name]
    notes = _notes(made, boxes)
    for number, (text, box) in enumerate(notes.values(), start=len(nodes) + 1):
        drawn["nodes"].append(_note(text, box, number))
    drawn["last_node_id"] = len(drawn["nodes"])
    drawn["extra"].pop("ds", None)  # without a view of its own, the front end shows the whole graph
    if made.app:
        drawn["extra"] |= {"linearMode": True, "linearData": _page(made.app, numbers(made.prompt))}
        for name in made.app.new_seeds:
            _draw_seed_anew(nodes[name])
    drawn["groups"] = [
        _group(number, title, COLOURS[colour], [*(boxes[name] for name in names), *_of_notes(notes, names)])
        for number, (title, (colour, names)) in enumerate(made.groups.items(), start=1)
    ]
    return drawn


def _draw_seed_anew(node: dict) -> None:
    """Sets the widget that the front end puts behind a seed."""
    named = node["widgets_values_named"]
    control = list(named)[list(named).index("seed") + 1]
    node["widgets_values"][list(named).index(control)] = named[control] = "randomize"


def _boxes(made: Definition, nodes: dict[str, dict]) -> dict[str, Box]:
    """The place of each node, with the room that it is left."""
    columns = [list(_rows(column)) for column in made.columns]
    height = {name: max(_size(node)[1], _room(made.prompt, name)) + TITLE + ROW_GAP for name, node in nodes.items()}
    tops = [0.0]
    for row in range(max(map(len, columns)) - 1):
        tallest = max(sum(height[name] for name in rows[row]) for rows in columns if row + 1 < len(rows))
        tops.append(tops[-1] + tallest + GROUP_TITLE)
    boxes, left = {}, 0.0
    for rows in columns:
        width = max(_size(nodes[name])[0] for names in rows for name in names)
        for names, top in zip(rows, tops):
            for name in names:
                boxes[name] = (left, top, width, height[name] - TITLE - ROW_GAP)
                top += height[name]
        left += width + COLUMN_GAP
    return boxes


def _rows(column) -> Iterator[list[str]]:
    for is_break, names in groupby(column, lambda name: name is NEXT_ROW):
        if not is_break:
            yield list(names)


def _notes(made: Definition, boxes: dict[str, Box]) -> dict[str, tuple[str, Box]]:
    """Name of the last node of a column -> the note below that node."""
    notes = {}
    for number, text in made.notes.items():
        last = made.columns[number][-1]
        left, top, width, height = boxes[last]
        lines = 2 + sum(1 + len(part) * 7 // int(width) for part in text.split("\n"))
        notes[last] = (text, (left, top + height + TITLE + ROW_GAP, width, NOTE_LINE * lines))
    return notes


def _of_notes(notes: dict[str, tuple[str, Box]], names) -> list[Box]:
    return [box for name, (_, box) in notes.items() if name in names]


def _size(node: dict) -> tuple[float, float]:
    return tuple(map(max, node["size"], SIZES.get(node["type"], (0, 0))))


def _room(prompt: dict, name: str) -> int:
    kind, inputs = prompt[name]["class_type"], prompt[name]["inputs"]
    room = ROOM.get(kind, 0)
    if inputs.get("stretch") == "custom":
        room += CUSTOM_STRETCH
    if kind == "AceStepSaveAudio":
        room += SAVED_ROW * (_results(prompt) - 1)
    return room


def _results(prompt: dict) -> int:
    """How many songs a workflow makes at once."""
    inputs = {key: value for node in prompt.values() for key, value in node["inputs"].items()}
    several = inputs.get("batch_size", 1), inputs.get("count", 1), len(str(inputs.get("tracks", "")).split(","))
    return max(several)


def _note(text: str, box: Box, number: int) -> dict:
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": list(box[:2]),
        "size": list(box[2:]),
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": "Note",
        "properties": {},
        "widgets_values": [text],
        "color": "#432",
        "bgcolor": "#653",
    }


def _group(number: int, title: str, colour: str, boxes: list[Box]) -> dict:
    left, top = min(box[0] for box in boxes) - GROUP_MARGIN, min(box[1] for box in boxes) - TITLE - GROUP_TITLE
    right, bottom = (max(box[axis] + box[axis + 2] for box in boxes) + GROUP_MARGIN for axis in (0, 1))
    bounding = [left, top, right - left, bottom - top]
    return {"id": number, "title": title, "bounding": bounding, "color": colour, "font_size": 24, "flags": {}}


def _page(app: App, number: dict[str, str]) -> dict:
    """What front ends with an app mode read: [node, widget, {"height": pixels}?] and nodes."""
    inputs = [
        [int(number[name]), widget, *([{"height": height}] if height else [])] for name, widget, height in app.inputs
    ]
    return {"inputs": inputs, "outputs": [int(number[name]) for name in app.outputs]}

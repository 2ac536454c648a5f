"""The table of a gallery: which sounds are shown, from which song, settings, source or sketch each is made."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..band import Sketch, genres, song_of
from ..editing.edit import Edit
from ..generation.settings import GenerationSettings
from ..lora.find import Lora
from ..song import Song
from ..spec import SLOTS

FIRST_SEED = 1_500_000  # of the band: below those of its training songs
FORMAT = "opus"
SHOWN_BY_STAGE, SHOWN_BESIDE_BAND = 1, 3
GENRES, STAGES, REFERENCE, EDITS, ADAPTER, BAND = "genres", "stages", "reference", "edits", "adapter", "band"


@dataclass(frozen=True)
class Section:
    """A heading of the page and the sentence below it."""

    name: str
    title: str
    about: str


SECTIONS = (
    Section(GENRES, "Genres", "One song of each genre, by the whole cascade."),
    Section(STAGES, "Stages", "The same song by each stage model alone, and by the cascade of them."),
    Section(REFERENCE, "Reference", "The same song without and with the timbre of a clip."),
    Section(EDITS, "Edits", "A song, and what is made of it."),
    Section(ADAPTER, "Adapter", "The same song without and with an adapter."),
    Section(BAND, "Band and family", "The band plays the music that the family was trained on; both have one caption."),
)


@dataclass(frozen=True)
class Piece:
    """One sound of the page. `name` is that of its file, unless `same_as` names the piece whose file it shows again.

    `sketch` is played by the band; else `song` is made with `settings`, an `edit` of the piece `source`, and the timbre
    of the piece `reference`.
    """

    name: str
    section: str
    title: str
    song: Song
    settings: GenerationSettings = GenerationSettings()
    edit: Edit | None = None
    source: str | None = None
    reference: str | None = None
    sketch: Sketch | None = None
    same_as: str | None = None

    @property
    def file(self) -> str:
        return f"{self.same_as or self.name}.{FORMAT}"


@dataclass(frozen=True)
class Family:
    """What is shown: how its models are asked for, the models of its stages if they are several, the editing tasks that
    all of them know, whether it is the embedded one, and adapters.
    """

    settings: GenerationSettings
    stages: tuple[str, ...] = ()
    tasks: frozenset[str] = frozenset()
    embedded: bool = False
    lora: tuple[str, ...] = ()


def pieces(family: Family, seconds: float) -> list[Piece]:
    """All pieces of a gallery; a piece stands behind those that it is made from."""
    songs = [_song_of_genre(family, number, seconds) for number in range(len(genres.GENRES))]
    made = [*songs, *_stages(family, songs[:SHOWN_BY_STAGE]), *_references(songs), *_edits(family, songs)]
    made += _adapters(family, songs[0]) if family.lora else ()
    return made + (list(_band(songs, seconds)) if family.embedded else [])


def _song_of_genre(family: Family, number: int, seconds: float) -> Piece:
    genre = list(genres.GENRES)[number]
    song = song_of(_sketch(genre, number, seconds), complete=True)
    return Piece(genre.replace(" ", "-"), GENRES, genre, song, replace(family.settings, seed=number))


def _sketch(genre: str, number: int, seconds: float) -> Sketch:
    return Sketch.draw(FIRST_SEED + number, seconds, genre)


def _again(shown: Piece, section: str, title: str) -> Piece:
    return replace(shown, name=f"{section}-{shown.name}", section=section, title=title, same_as=shown.name)


def _stages(family: Family, songs: list[Piece]) -> Iterator[Piece]:
    """Each model alone, at its own number of steps, and the cascade."""
    for whole in songs if len(family.stages) > 1 else ():
        for slot, model in zip(SLOTS, family.stages):
            alone = replace(whole.settings, models=model, l=None, m=None, s=None)
            yield replace(
                whole,
                name=f"{whole.name}-by-{slot}-alone",
                section=STAGES,
                title=f"{whole.title}: {slot.upper()} alone, {model}",
                settings=alone,
            )
        yield _again(whole, STAGES, f"{whole.title}: the cascade")


def _references(songs: list[Piece]) -> Iterator[Piece]:
    one, clip = songs[0], songs[len(songs) // 2]
    yield _again(one, REFERENCE, f"{one.title}")
    yield _again(clip, REFERENCE, f"the clip: {clip.title}")
    title = f"{one.title} with the timbre of the clip"
    yield replace(one, name=f"{one.name}-with-timbre", section=REFERENCE, title=title, reference=clip.name)


def _edits(family: Family, songs: list[Piece]) -> Iterator[Piece]:
    """A song, and an edit of each kind that the models know."""
    base, other = songs[min(1, len(songs) - 1)], songs[-1]
    seconds = base.song.seconds
    begin, end, more = round(seconds / 3), round(seconds * 2 / 3), round(seconds / 2)
    covered = replace(base.song, caption=other.song.caption)
    longer = replace(base.song, seconds=seconds + more)
    silent = replace(base.song, caption="")
    wanted = [
        (f"{begin} to {end} s made anew", base.song, Edit("repaint", regions=((begin, end),), strength=1.0)),
        (f"{more} s more at its end", longer, Edit("extend", after=float(more))),
        (f"covered as {other.title}", covered, Edit("cover", codes="cover" in family.tasks)),
        ("its drums", silent, Edit("extract", tracks=("drums",))),
        ("its bass", silent, Edit("extract", tracks=("bass",))),
    ]
    yield _again(base, EDITS, f"the song: {base.title}")
    for title, song, edit in wanted:
        if edit.knows in family.tasks:
            name = "-".join((base.name, edit.task, *edit.tracks))
            yield Piece(name, EDITS, title, song, base.settings, edit, source=base.name)


def _adapters(family: Family, whole: Piece) -> Iterator[Piece]:
    names = ", ".join(Path(Lora.parse(one).adapter).stem for one in family.lora)
    yield _again(whole, ADAPTER, f"{whole.title}, without")
    settings = replace(whole.settings, lora=family.lora)
    yield replace(whole, name=f"{whole.name}-adapted", section=ADAPTER, title=f"with {names}", settings=settings)


def _band(songs: list[Piece], seconds: float) -> Iterator[Piece]:
    """What the band plays of the sketch that a caption was written from, and the family's song of that caption."""
    for number, whole in list(enumerate(songs))[-SHOWN_BESIDE_BAND:]:
        sketch = _sketch(whole.title, number, seconds)
        yield replace(
            whole, name=f"{whole.name}-by-the-band", section=BAND, title=f"{whole.title}: the band", sketch=sketch
        )
        yield _again(whole, BAND, f"{whole.title}: the family")

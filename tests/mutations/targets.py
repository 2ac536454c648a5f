"""What is done with a mutated file: what a user would do with it. A target returns, or raises an error for the user."""

import contextlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from . import library as ours
from .library import STAGE, TEXT, VOCODER, AceStepError, Cascade, Song, UserError, audio
from .messages import Notes, control_character, message_fault
from .mutate_silence import RAN

LONGEST_SONG_S = 600

SECONDS = 10.0
MEMORY_GB = 4.0


class Wrong(AssertionError):
    """The library went on, and the result is wrong."""


class Refused(Exception):
    """The error that a command printed before it ended with code 1 or 2."""


@dataclass(frozen=True)
class Place:
    """The case's own folder, which is the working folder too, and the material: valid files of all kinds."""

    folder: Path
    material: Path

    def mutant(self, pattern: str = "mutant*") -> Path:
        return next(self.folder.glob(pattern))

    @property
    def family(self) -> Path:
        return self.material / "family" / "family"


# ---- models ----------------------------------------------------------------------------------------------------------


def _play(place: Place, cascade: Cascade, **given) -> None:
    """Makes a song with these models and writes it to a file."""
    wave = cascade.generate(Song("a techno beat", lyrics="la la", seconds=SECONDS), seed=1, **given)
    audio.write(place.folder / "song.wav", wave)
    if abs(wave.seconds - SECONDS) > 0.1:
        raise Wrong(f"the song is {wave.seconds} s long")
    if (place.folder / RAN).exists():
        raise Wrong("a pickle ran code")


def _load(models: Path, **parts) -> Cascade:
    return Cascade.load(models, device="cpu", text_cache=False, memory_gb=MEMORY_GB, **parts)


def stage(place: Place) -> None:
    """A song by one stage model, with the family's text encoder and vocoder."""
    parts = {"text": place.family / "text_encoder", "vocoder": place.family / "vae"}
    _play(place, _load(place.mutant(), **parts))


def cascade(place: Place) -> None:
    """A song by a folder that holds stages, text encoder and vocoder."""
    _play(place, _load(place.mutant()))


def text_encoder(place: Place) -> None:
    _play(place, _load(place.family, text=place.mutant()))


def planner(place: Place) -> None:
    """A song that is planned, with its codes."""
    plan = ours.Planner.load(place.mutant(), device="cpu", cache=False).plan(Song("techno", "la la", seconds=SECONDS))
    if len(plan.codes) != 5 * SECONDS or plan.song.bpm is None:
        raise Wrong(f"the plan is not whole: {plan.lines()}")


def plan_file(place: Place) -> None:
    """`generate --song` of a plan, by models that read no codes."""
    file = place.mutant()
    command("generate", "--song", file, "-o", "song.flac", "--models", place.family, "--steps", 3, "--seed", 1)


def vocoder(place: Place) -> None:
    _play(place, _load(place.family, vocoder=place.mutant()))


def split_files(place: Place) -> None:
    """ComfyUI's three files, of which one is the mutant."""
    stage_file, text_file, vae_file = (
        next(place.folder.glob(f"*{part}*.safetensors")) for part in ("turbo", "text", "vae")
    )
    _play(place, _load(stage_file, text=text_file, vocoder=vae_file))


# ---- lists -----------------------------------------------------------------------------------------------------------

_FOLDERS = {STAGE: "diffusion_models", TEXT: "text_encoders", VOCODER: "vae"}


def lists(place: Place) -> None:
    """The choices of ComfyUI's nodes: the valid files are listed, the mutant is listed or refused with the reason."""
    models = place.folder / "models"
    shelf = ours.Shelf((models / "acestep",), {kind: (models / name,) for kind, name in _FOLDERS.items()})
    for kind, name in _FOLDERS.items():
        here = shelf.here(kind)
        for file in (models / name).glob("*.safetensors"):
            if file.name not in here and not file.name.startswith("mutant"):
                raise Wrong(f"{file.name} is not listed; {here} are")
            if file.name not in here:
                shelf.find(file.name, kind)
    if "valid-stage" not in shelf.here(STAGE):
        raise Wrong("the valid folder is not listed")
    if "mutant-stage" not in shelf.here(STAGE):
        shelf.find("mutant-stage", STAGE)
    _adapters_listed(models / "loras")


def _adapters_listed(folder: Path) -> None:
    here = ours.list_adapters([folder])
    for file in folder.glob("*.safetensors"):
        if file.name not in here and not file.name.startswith("mutant"):
            raise Wrong(f"{file.name} is not listed; {list(here)} are")
        if file.name not in here:
            raise UserError(ours.why_not(file.name, [folder]) or "no reason is told")


def known_models(place: Place) -> None:
    """`models`, where a published model of this name lies in the models folder."""
    os.environ["ACESTEP_MODELS"] = str(place.folder / "models")
    try:
        command("models")
    except Refused as exc:
        raise Wrong(f"one model kills the list: {exc}") from exc
    command("models", "--json")


# ---- adapters --------------------------------------------------------------------------------------------------------


@cache
def _cascade(family: Path) -> Cascade:
    return _load(family)


def adapter(place: Place) -> None:
    """Shown, converted, applied."""
    file = place.mutant()
    command("lora", "show", file)
    command("lora", "show", file, "--json")
    read = ours.read_adapter(file)
    tensors = [tensor for delta in read.modules.values() for tensor in ours.tensors_of(delta).values()]
    scales = torch.tensor([float(delta.scale) for delta in read.modules.values()])
    if not all(bool(tensor.isfinite().all()) for tensor in (*tensors, scales)):
        raise Wrong("NaN or infinity was read")
    command("lora", "convert", file, "-o", "made.safetensors", "--to", "comfyui")
    _play(place, _cascade(place.family), lora=str(file))


# ---- sound -----------------------------------------------------------------------------------------------------------

LOST_SAMPLES = 1024  # so many zeros in a row are in no valid clip


def sound(place: Place) -> None:
    """Read, and taken as a reference."""
    file, notes = place.mutant(), Notes()
    with notes:
        wave = audio.read(file)
    if file.suffix == ".flac" and not notes.lines:
        valid = audio.read(next((place.material / "flac").glob("mutant*")))
        claimed = int.from_bytes(file.read_bytes()[21:26], "big") % 2**36  # 0 says that it is unknown
        _check_complete(wave.samples[0, 0], min(claimed or 2**36, valid.samples.shape[-1]))
    _referenced(place, file, wave)


def _check_complete(samples: torch.Tensor, length: int) -> None:
    loudest = torch.nn.functional.pad(samples.abs(), (0, LOST_SAMPLES), value=1.0).unfold(0, LOST_SAMPLES, 1).amax(1)
    if len(samples) < length or not bool(loudest.all()):
        raise Wrong("sound was lost without a note")


def _referenced(place: Place, file: Path, wave) -> None:
    models = _cascade(place.family)
    latents = models.encode_reference(file).timbre[0]
    if not bool(latents.isfinite().all()):
        raise Wrong("the reference is NaN or infinite")
    if float(wave.samples.abs().max()) > 1:
        clamped = ours.Waveform(wave.samples.clamp(-1, 1), wave.sample_rate_hz)
        if not torch.allclose(latents, models.encode_reference(clamped).timbre[0], atol=1e-4):
            raise Wrong("samples beyond +-1 are encoded as they are")


def continued(place: Place) -> None:
    """A song that continues the clip."""
    models, file = _cascade(place.family), place.mutant()
    _play(place, models, continue_from=file)


# ---- songs and tags --------------------------------------------------------------------------------------------------


def song(place: Place) -> None:
    text = place.mutant().read_bytes()
    made = Song.from_json(text)
    if Song.from_json(made.to_json()) != made:
        raise Wrong("the song's own JSON gives another song")


def song_file(place: Place) -> None:
    """`generate --song`, or `--songs` where it has a song a line."""
    file = place.mutant()
    which = "--songs" if file.suffix == ".jsonl" else "--song"
    more = ("-o", "made/") if file.suffix == ".jsonl" else ("-o", "song.flac")
    Path("made").mkdir()
    command("generate", which, file, *more, "--models", place.family, "--seconds", SECONDS, "--steps", 3, "--seed", 1)


def captions(place: Place) -> None:
    """The file of `train lora --preserve-captions`."""
    ours.own_songs(str(place.mutant()), "tiny", SECONDS)


def score(place: Place) -> None:
    """The notes of a MIDI file that `play` and Play Score play, and what it says of a song."""
    read = ours.read_score(place.mutant())
    if not all(0 <= note.start_s <= LONGEST_SONG_S and 0 < note.seconds <= LONGEST_SONG_S for note in read.notes):
        raise Wrong("a note lies outside the longest song")
    ours.song_of_score(read, Song("a guide"), SECONDS)


def shown(place: Place) -> None:
    """`show` of a file of sound, and its song made again."""
    file = place.mutant()
    command("show", file)
    command("show", file, "--json")
    command("generate", "--from", file, "-o", "song.flac", "--seconds", SECONDS)


def tags(place: Place) -> None:
    """Of sound that others made."""
    for text in ours.read_tags(place.mutant()).values():
        text.encode()


# ---- edits -----------------------------------------------------------------------------------------------------------


def _taught(place: Place) -> Path:
    return place.material / "taught" / "family"


def edit_request(place: Place) -> None:
    """The body of a request to the web API, made."""
    library = ours.Library(place.folder / "songs")
    library.refresh()
    defaults = ours.GenerationSettings(models=str(_taught(place)))
    requests = ours.RequestReader(library, ours.Uploads(library.own_folder), defaults)
    order = requests.order(ours.read_json_object(place.mutant()))
    for _ in ours.SongMaker(ours.LibraryShelf(requests), ours.Machine("cpu", MEMORY_GB, text_cache=False)).steps(order):
        pass
    if library.songs().total < 2:
        raise Wrong("no song was made")


def edited(place: Place) -> None:
    """The edit in the tags of a file, made again."""
    command("show", place.mutant())
    command("edit", "--from", place.mutant(), "-o", "song.flac")


def repainted(place: Place) -> None:
    """An edit of a file with kept latents."""
    asked = ("--region", "1-2", "--models", place.family, "--steps", 3, "--seed", 1)
    command("edit", "repaint", place.mutant("mutant.flac"), "x", *asked, "-o", "song.flac")


def regions(place: Place) -> None:
    """The text of Repaint's and of LoRA Dataset's regions."""
    text = place.mutant().read_bytes().decode(errors="replace")
    for start, end in ours.parse_regions(text.partition("|")[0], ours.BarTimes.of(120, "4")):
        if not 0 <= start < (LONGEST_SONG_S * 100 if end is None else end):
            raise Wrong(f"a region from {start} to {end}")
    ours.read_clip_regions(text.partition("|")[2])


# ---- trainings -------------------------------------------------------------------------------------------------------


@cache
def _parts(family: Path) -> tuple:
    return (
        ours.load_stage_model(family / "s"),
        ours.load_text_encoder(family / "text_encoder"),
        ours.load_vocoder(family / "vae"),
    )


def clips(place: Place) -> None:
    """A folder of clips, prepared for a training: a fault of one clip must not stop the others."""
    folder = place.folder / "clips"
    has_table = any(file.suffix in (".csv", ".tsv", ".jsonl") for file in folder.iterdir())
    try:
        dataset = ours.read_dataset(folder)
    except UserError as exc:
        if has_table:
            raise
        raise Wrong(f"one clip stops the whole folder: {exc}") from exc
    made = list(ours.Preparation(*_parts(place.family), place.folder / "cache", SECONDS).run(dataset))
    left_out = [one for one in (*dataset.left_out, *made) if isinstance(one, ours.LeftOut)]
    for line in (*dataset.notes, *(one.reason for one in left_out)):
        if wrong := message_fault(line):
            raise Wrong(f"the note {wrong}: {line!r:.300}")
    ready = {one.path.stem for one in made if not isinstance(one, ours.LeftOut)}
    if not has_table and "good" not in ready:
        raise Wrong(f"the good clip is left out: {left_out}")


def losses(place: Place) -> None:
    """The loss log when a training is resumed, and its plot."""
    file = place.mutant() / "losses.csv"
    kept = ours.LossLog(file, 2)
    kept.add(3, 0.5, 1e-4, None)
    curve = ours.loss_plot_of(kept.read())
    ours.picture(curve, 3)


def training(place: Place, steps: int = 4) -> None:
    """A resumed training."""
    family = place.family
    models = ("--model", family / "s", "--text-encoder", family / "text_encoder", "--vocoder", family / "vae")
    course = ("--steps", steps, "--rank", 2, "--crop", 10, "--accumulate", 1, "--save-every", 1, "--warm-up", 1)
    command("train", "lora", place.folder / "clips", "-o", place.folder / "mutant", *models, *course)


def text_cached(place: Place) -> None:
    """The same song, whether its text states come from the cache on disk or not."""
    os.environ["ACESTEP_CACHE"] = str(place.folder / "cache")
    models = Cascade.load(place.family, device="cpu", memory_gb=MEMORY_GB)
    wave = models.generate(Song("cached words", seconds=SECONDS), seed=1)
    expected = place.folder / "expected.pt"
    if not expected.exists():
        torch.save(wave.samples, expected)
    elif not torch.equal(wave.samples, torch.load(expected)):
        raise Wrong("a damaged cache entry is used: the song is another")


# ---- the command line ------------------------------------------------------------------------------------------------


def command(*words) -> str:
    """Runs a command; returns its stdout. Raises Refused with its error, Wrong for any other end."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = ours.main([str(word) for word in words])
    said = [line for line in err.getvalue().split("\n") if line]
    if code == 0:
        _check_printable(out.getvalue(), *said)
        return out.getvalue()
    *notes, error = said or [""]
    _check_printable(*notes)
    if code not in (1, 2) or not error.startswith("acestep-cascade: "):
        raise Wrong(f"{words[0]} ended with {code} and said {error!r}")
    raise Refused(error.removeprefix("acestep-cascade: "))


def _check_printable(*texts: str) -> None:
    for text in texts:
        if found := control_character(text):
            raise Wrong(f"a control character is printed: {found}")


TARGETS: dict[str, Callable[[Place], None]] = {
    function.__name__: function
    for function in (
        *(stage, cascade, text_encoder, vocoder, split_files, lists, known_models, adapter, sound, continued),
        *(planner, plan_file),
        *(edit_request, edited, repainted, regions),
        *(song, song_file, score, captions, shown, tags, clips, losses, training, text_cached),
    )
}
WITHOUT_NAME = (song, text_cached, edit_request, regions)  # these have no file to name
ERRORS_FOR_USERS = (AceStepError, Refused)

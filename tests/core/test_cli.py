"""The command line, run in this process where that is enough and as a process of its own where it is not."""

import errno
import gc
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core import audio
from acestep_pack.acestep_core.audio.song_tags import song_tags
from acestep_pack.acestep_core.audio.tags import read_tags
from acestep_pack.acestep_core.cli import parser as cli
from acestep_pack.acestep_core.song import Song

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "numpy", "transformers", "diffusers", "peft", "huggingface_hub", "safetensors", "soundfile", "gradio"}


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("ACESTEP_MODELS", str(tmp_path / "models"))


@pytest.fixture
def generate(tiny_family, capsys):
    """acestep-cascade generate with the small family; (exit code, lines of stdout, stderr)."""

    def run(*arguments, models=tiny_family):
        named = ["--models", str(models)] if models else []
        code = cli.main(["generate", *map(str, arguments), *named, "--device", "cpu"])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err

    return run


def names(folder="."):
    return sorted(entry.name for entry in Path(folder).iterdir())


MAIN = "import sys; from acestep_core.cli.parser import main; sys.exit(main())"


def process(*arguments, folder=None, entry=MAIN, before="", **options):
    """A command in a process of its own; modules in the folder `before` come before all others."""
    command = [sys.executable, "-c", entry, *arguments]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(before), str(ROOT)))), "OMP_NUM_THREADS": "1"}
    # Where the tests themselves run in the background, a child would inherit that Ctrl-C is to be ignored.
    listen = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)} if os.name == "posix" else {}
    return subprocess.Popen(command, cwd=folder, env=env, stdout=-1, stderr=-1, text=True, **listen, **options)


# ---- answers at once -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, code",
    [
        (["--help"], 0),
        (["--version"], 0),
        (["generate", "--help"], 0),
        (["models", "--help"], 0),
        ([], 2),
        (["generate"], 2),
        (["generate", "x", "--seconds", "5"], 2),
        (["generate", "x", "-o", "song.txt"], 2),
        (["generate", "x", "--models", "nonsense"], 2),
        (["show", "missing.flac"], 2),
        (["lora", "--help"], 0),
        (["lora", "show", "gone"], 2),
        (["generate", "x", "--lora", "gone:0.5"], 2),
        (["edit", "--help"], 0),
        (["edit"], 2),
        (["edit", "repaint", "gone.flac"], 2),
        (["edit", "extend", "gone.flac", "--after", "x"], 2),
    ],
)
def test_help_and_mistakes_are_answered_with_nothing_heavy_imported(arguments, code, tmp_path):
    watch = (
        "import sys; from acestep_core.cli.parser import main; code = main(sys.argv[1:]);"
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", watch, *arguments]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.returncode == code and not HEAVY & set(done.stderr.decode().splitlines()[-1].split())


def test_version_is_the_projects(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == "acestep-cascade 0.2.0\n"


def test_python_dash_m_is_the_same():
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "acestep_core", "--version"], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("acestep-cascade ")


MISTAKES = [
    (["generate", "x", "--seconds", "5"], "seconds: got 5.0, expected a number from 10 to 600 seconds"),
    (["generate", "x", "--seconds", "long"], "argument --seconds: invalid float value: 'long'"),
    (["generate", "x", "--bpm", "9000"], "bpm: got '9000', expected a number from 30 to 300"),
    (["generate", "x", "--key", "H"], "key: got 'H', expected a note and a mode, such as \"A minor\""),
    (["generate", "x", "--time-signature", "5"], "time signature: got '5', expected one of 2, 3, 4, 6"),
    (["generate", "x", "--language", "xx"], "language: got 'xx', expected one of ar"),
    (["generate", "  "], "caption: is empty"),
    (["generate", "x", "--lyrics", "@gone.txt"], "gone.txt: could not be read (No such file or directory)"),
    (["generate", "x", "--lyrics", "@latin.txt"], "latin.txt: is not UTF-8 text"),
    (["generate", "x", "--steps", "3,x"], "argument --steps: got '3,x', expected numbers such as 3 or 3,3,2"),
    (["generate", "x", "--seed", "-1"], "seed: got -1, expected a whole number from 0 to"),
    (["generate", "x", "--count", "0"], "--count: got 0, expected 1 to 10000"),
    (["generate", "x", "--count", "99999999999"], "--count: got 99999999999, expected 1 to 10000"),
    (["generate", "x", "-o", "a" * 300 + ".wav"], "is too long for the name of a file; shorten it"),
    (["show", "a" * 300 + ".wav"], "is too long for the name of a file; shorten it"),
    (["generate", "x", "--lyrics", "@/dev/zero"], "/dev/zero: got more than 16,000,000 bytes, expected a text"),
    (["generate", "x", "--loudness", "5"], "--loudness: got 5, expected LUFS from -70 to 0"),
    (["generate", "x", "--boundaries", "nan,0.5"], "boundaries: got (nan, 0.5), expected flow times from 1 to 0"),
    (["generate", "x", "--steps", "10000000,1,1"], "steps: got (10000000, 1, 1), expected at most 3000 in all"),
    (["generate", "x", "-o", "/dev/null"], "/dev/null: is a device or a pipe, expected a file; -o - --format wav"),
    (["generate", "x", "-o", "-"], "-o -: got no --format, expected the format to write to stdout"),
    (["generate", "x", "-o", "-", "--format", "mp3", "--bit-depth", "16"], "bit depth: got 16 for mp3"),
    (["generate", "x", "-o", "-", "--format", "wav", "--count", "2"], "-o -: got 2 songs, expected one"),
    (["generate", "x", "-o", "no/song.wav"], "no: is not a folder; create it first"),
    (
        ["generate", "x", "-o", "a.wav", "--format", "flac"],
        "a.wav: the file's name says wav, the format asked for is flac",
    ),
    (["generate", "x", "-o", "a.mp3", "--bit-depth", "24"], "bit depth: got 24 for mp3"),
    (["generate", "x", "-o", "song.aac"], "got the format 'aac', expected one of wav, flac, mp3, ogg, opus"),
    (["generate", "x", "--reference", "gone.wav"], "gone.wav: does not exist, expected an audio file"),
    (["generate", "x", "--continue", "gone.wav"], "gone.wav: does not exist, expected an audio file"),
    (["generate", "x", "--lora", "L=gone.safetensors:0.5"], "gone.safetensors: there is no such adapter; searched"),
    (["generate", "x", "--lora", "q=gone"], "lora: got the stage 'q' in 'q=gone', expected one of l, m, s or a number"),
    (["lora", "convert", "gone", "-o", "x", "--to", "onnx"], "argument --to: invalid choice: 'onnx'"),
    (["generate", "x", "--models", "nonsense"], "nonsense is neither a file or folder nor a known stage model"),
    (["generate", "x", "--models", "published"], "-m acestep_core models download acestep-v15-xl-turbo"),
    (["generate", "--song", "a", "--songs", "b"], "give one of --song, --songs and --from"),
    (["generate", "--song", "gone.json"], "gone.json: could not be read"),
    (["generate", "--song", "bad.json"], "bad.json: song: unknown field mood; the fields are caption"),
    (["generate", "--songs", "bad.jsonl"], "bad.jsonl line 2: cannot be read as JSON"),
    (["generate", "--songs", "number.jsonl"], "number.jsonl line 1: output: got 5, expected the name of a file"),
    (["generate", "--songs", "empty.jsonl"], "empty.jsonl: holds no songs"),
    (["generate", "--songs", "seed.jsonl"], "seed.jsonl line 2: seed: got -2"),
    (["generate", "--songs", "list.jsonl"], "list.jsonl line 1: holds a JSON list, expected an object"),
    (["generate", "--songs", "twice.jsonl"], "would be written twice; give every song its own output"),
    (["generate", "x", "--memory", "nan"], "memory: got nan GB, expected a positive number"),
    (["train", "lora", ".", "-o", ".", "--model", "tiny-m"], ".: has no name of its own"),
    (["train", "distill", ".", "--teacher", "tiny-m", "--student", ".."], "..: has no name of its own"),
    (["generate", "--from", "plain.wav"], "plain.wav: has no song in its tags"),
    (
        ["generate", "--from", "graph.wav"],
        "graph.wav: was made in ComfyUI by sft, turbo; drop it there to get its graph",
    ),
    (["show", "plain.wav"], "plain.wav: has no song in its tags"),
    (["generate"], "a caption is missing"),
    (["dance"], "invalid choice: 'dance'"),
    (["generate", "x", "--loud"], "ambiguous option|unrecognized arguments|argument --loudness: expected one argument"),
    (["models", "download", "nonsense"], "nonsense is no known model; known are acestep-v15-xl-turbo"),
    (["models", "download", "acestep-turbo"], "no known model (did you mean acestep-v15-turbo?); known are"),
]


@pytest.mark.parametrize(
    "arguments, message", MISTAKES, ids=lambda value: " ".join(value) if type(value) is list else ""
)
def test_a_mistake_is_one_line_and_code_2(arguments, message, capsys):
    Path("bad.json").write_text('{"caption": "x", "mood": 100}')
    Path("bad.jsonl").write_text('{"caption": "x"}\n{"caption": \n')
    Path("empty.jsonl").write_text("\n")
    Path("number.jsonl").write_text('{"caption": "x", "output": 5}')
    Path("seed.jsonl").write_text('{"caption": "x"}\n{"caption": "x", "seed": -2}')
    Path("list.jsonl").write_text('["x"]')
    Path("twice.jsonl").write_text(
        f'{{"caption": "x", "output": "a.wav"}}\n{{"caption": "x", "output": "../{Path.cwd().name}/a.wav"}}'
    )
    Path("latin.txt").write_bytes(b"caf\xe9")
    audio.write("plain.wav", audio.Waveform(torch.zeros(1, 2, 4800), 48000))
    of_a_graph = song_tags(Song("x"), {"seed": 5}, ["sft", "turbo"])
    audio.write("graph.wav", audio.Waveform(torch.zeros(1, 2, 4800), 48000), tags=of_a_graph)
    before = names()
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and said.err.startswith("acestep-cascade: ")
    assert any(part in said.err for part in message.split("|"))
    assert names() == before


# ---- songs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["caption", "title", "artist", "lyrics"])
def test_halves_of_characters_are_told(name, capsys):
    asked = {"caption": "x", name: "caf\udce9"}
    more = [f"--{name}={text}" for name, text in asked.items() if name != "caption"]
    assert cli.main(["generate", asked["caption"], *more]) == 2
    assert f"{name}: got 'caf\\udce9', which is no valid Unicode" in capsys.readouterr().err


def test_a_caption_becomes_a_file(generate):
    code, out, err = generate("lo-fi beat", "-o", "song.flac", "--seconds", 10, "--seed", 3)
    assert code == 0 and names() == ["song.flac"]
    assert re.fullmatch(r"song.flac  10.0 s of music, seed 3, made in \d+\.\d s", out[0])
    assert [line.split()[0] for line in err.splitlines()] == ["l", "m", "s", "vae"]
    wave = audio.read("song.flac")
    assert wave.seconds == 10 and wave.samples.shape[1] == 2
    assert wave.samples.abs().max() == pytest.approx(10 ** (-1 / 20), abs=1e-3)


def test_every_wish_about_the_song_arrives(generate):
    Path("words.txt").write_text("[Verse]\nneon rain\n", encoding="utf-8")
    wishes = ["--bpm", 104, "--key", "am", "--time-signature", "3/4", "--lyrics", "@words.txt", "--language", "en"]
    code, out, _ = generate("synthwave", "-o", "a.wav", "--seconds", "10.5", "--seed", 1, "--json", "-q", *wishes)
    told = json.loads(out[0])
    song = Song("synthwave", "[Verse]\nneon rain\n", 104, "A minor", "3", "en", 10.5)
    assert code == 0 and Song.from_json(told["song"]) == song
    tags = read_tags("a.wav")
    assert Song.from_json(tags["song"]) == song
    assert (tags["title"], tags["bpm"], tags["key"], tags["seed"]) == ("synthwave", "104", "A minor", "1")
    assert tags["lyrics"] == "[Verse]\nneon rain\n"


def test_json_tells_of_each_file_and_nothing_else(generate):
    code, out, err = generate("x", "-o", "a.ogg", "--count", 2, "--seed", 8, "--seconds", 10, "--json", "-q")
    told = [json.loads(line) for line in out]
    assert code == 0 and err == ""
    assert [(line["file"], line["seed"], line["seconds"]) for line in told] == [
        ("a_1.ogg", 8, 10.0),
        ("a_2.ogg", 9, 10.0),
    ]
    assert told[0]["models"]["l"].endswith("/l") and told[0]["settings"]["seed"] == 8


def test_count_numbers_files_and_each_is_the_song_of_its_seed(generate):
    generate("x", "-o", "song.flac", "--count", 3, "--seed", 4, "--seconds", 10)
    assert names() == ["song_1.flac", "song_2.flac", "song_3.flac"]
    generate("x", "-o", "single.flac", "--seed", 5, "--seconds", 10)
    assert torch.equal(audio.read("single.flac").samples, audio.read("song_2.flac").samples)
    assert not torch.equal(audio.read("song_1.flac").samples, audio.read("song_2.flac").samples)


def test_show_and_make_again(generate, capsys):
    wishes = ["--steps", "1,2,1", "--boundaries", "0.8,0.4", "--solver", "heun", "--guidance", "1,cfg:2,1"]
    generate("a\nb \u00fc", "-o", "a.mp3", "--seconds", 10, "--seed", 6, "--loudness", "-20", *wishes)
    assert cli.main(["show", "a.mp3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert Song.from_json(told["song"]) == Song("a\nb \u00fc", seconds=10)
    assert told["settings"]["steps"] == [1, 2, 1] and told["settings"]["loudness"] == -20
    assert cli.main(["show", "a.mp3"]) == 0
    shown = capsys.readouterr().out
    assert "seed            6" in shown and "boundaries      0.8, 0.4" in shown and "[Instrumental]" in shown
    code, _, err = generate("--from", "a.mp3", "-o", "b.mp3", models=None)
    assert code == 0, err
    assert Path("a.mp3").read_bytes() == Path("b.mp3").read_bytes()
    generate("--from", "a.mp3", "-o", "c.mp3", "--seed", 7, models=None)
    assert Path("a.mp3").read_bytes() != Path("c.mp3").read_bytes()


def test_it_is_made_again_from_any_folder(generate, tiny_family):
    for folder, sound in (("here", 0.1), ("there", 0.5)):
        Path(folder).mkdir()
        audio.write(f"{folder}/clip.wav", audio.Waveform(sound * torch.rand(1, 2, 96000), 48000))
    Path("models").symlink_to(tiny_family)
    os.chdir("here")
    generate("x", "-o", "a.wav", "--seconds", 10, "--seed", 3, "--reference", "clip.wav", models="../models")
    os.chdir("../there")
    code, _, err = generate("--from", "../here/a.wav", "-o", "b.wav", models=None)
    assert code == 0, err
    assert torch.equal(audio.read("b.wav").samples, audio.read("../here/a.wav").samples)


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"steps": [1, "a", 2]}, "steps: got (1, 'a', 2), expected a whole number"),
        ({"steps": 2.5}, "steps: got 2.5"),
        ({"boundaries": 0.5}, "boundaries: got 0.5, expected flow times"),
        ({"loudness": "x"}, "loudness: got 'x'"),
        ({"loudness": -1000}, "loudness: got -1000"),
        ({"models": 5}, "models: got 5"),
        ({"reference": [5]}, "reference: got (5,)"),
        ({"lora": "abc"}, "lora: got 'abc'"),
        ({"steps": [10**7] * 3}, "steps: got (10000000, 10000000, 10000000), expected at most 3000 in all"),
        ({"boundaries": [0.5] * 5000}, "boundaries: got (0.5, 0.5,"),
        ({"solver": ["heun"]}, "solver: got ('heun',)"),
        ({"guidance": {"kind": "cfg"}}, "guidance: got {'kind': 'cfg'}"),
        ({"seed": "x"}, "seed: got 'x'"),
    ],
)
def test_settings_that_were_edited_are_told(changed, said, generate):
    tags = song_tags(Song("x"), changed, {"l": "tiny-l"})
    audio.write("edited.flac", audio.Waveform(torch.zeros(1, 2, 4800), 48000), tags=tags)
    code, out, err = generate("--from", "edited.flac", "-o", "b.wav")
    assert code == 2 and out == [] and said in err and "edited.flac: its tags cannot be read" in err


@pytest.mark.parametrize("changed", [{"dtype": "x"}, {"solver": "x"}, {"guidance": "x"}, {"models": "/gone/family"}])
def test_settings_that_do_not_do_are_told_with_the_file(changed, capsys):
    tags = song_tags(Song("x"), changed, {"l": "tiny-l"})
    audio.write("edited.flac", audio.Waveform(torch.zeros(1, 2, 4800), 48000), tags=tags)
    assert cli.main(["generate", "--from", "edited.flac", "-o", "b.wav", "--device", "cpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("acestep-cascade: edited.flac: ") and next(iter(changed.values())) in line


@pytest.mark.parametrize("models", ["xx", "5", "[5]"])
def test_models_that_were_edited_are_told(models, capsys):
    tags = song_tags(Song("x"), {}) | {"models": models}
    audio.write("edited.flac", audio.Waveform(torch.zeros(1, 2, 4800), 48000), tags=tags)
    assert cli.main(["show", "edited.flac"]) == 2
    err = capsys.readouterr().err
    assert "edited.flac: its tags cannot be read (models: " in err and (models in err or "as JSON" in err)


def test_a_song_file_and_what_overrides_it(generate):
    Path("song.json").write_text(Song("jazz", bpm=90, seconds=10).to_json())
    generate("--song", "song.json", "-o", "a.flac", "--bpm", "100")
    song = Song.from_json(read_tags("a.flac")["song"])
    assert (song.caption, song.bpm, song.seconds) == ("jazz", 100, 10)


def test_many_songs(generate):
    lines = [{"caption": "a", "seconds": 10}, {"caption": "b", "seconds": 10, "seed": 2, "output": "own.wav"}]
    Path("many.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    code, out, err = generate("--songs", "many.jsonl", "-o", "song.flac", "--json", "-q", "--seed", 1)
    assert code == 0 and [json.loads(line)["file"] for line in out] == ["song_1.flac", "own.wav"]
    Path("out").mkdir()
    generate("--songs", "many.jsonl", "-o", "out", "--count", 2)
    assert names("out") == ["song_1_1.flac", "song_1_2.flac"]
    assert {"own_1.wav", "own_2.wav"} <= set(names())


def test_songs_of_the_original_are_read(generate):
    song = {"prompt": "jazz", "duration": -1, "keyscale": "B-flat Major", "vocal_language": "English", "seed": -1}
    Path("many.jsonl").write_text(json.dumps({**song, "think": True, "output": "a.wav"}))
    code, out, err = generate("--songs", "many.jsonl", "--seconds", 10, "--json")
    assert code == 0 and "note: song: think: not used" in err
    told = json.loads(out[0])
    assert Song.from_json(told["song"]) == Song("jazz", key="Bb major", language="en", seconds=10)
    assert told["seed"] >= 0
    Path("song.json").write_text(json.dumps({**song, "seed": 7, "output": "b.wav"}))
    _, out, _ = generate("--song", "song.json", "--seconds", 10, "--json")
    assert (json.loads(out[0])["file"], json.loads(out[0])["seed"]) == ("b.wav", 7)


def test_a_line_may_hold_any_character(generate):
    Path("songs.jsonl").write_text('{"caption": "lo-fi\u2028beat", "output": "a.wav"}\r\n', encoding="utf-8")
    code, out, err = generate("--songs", "songs.jsonl", "--seconds", 10)
    assert code == 0 and names() == ["a.wav", "songs.jsonl"], err


def test_a_long_name_is_a_name(generate):
    name = "a" * 246 + ".flac"
    assert generate("x", "-o", name, "--seconds", 10)[0] == 0 and names() == [name]


def test_without_a_name_nothing_is_replaced(generate):
    for _ in range(2):
        generate("Lo-fi / Beat!", "--seconds", 10, "--seed", 3, "--format", "wav")
    assert names() == ["lo-fi-beat-3.wav", "lo-fi-beat-3_2.wav"]
    generate("x", "-o", "named", "--seconds", 10, "--format", "opus", "--seed", 1)
    assert "named.opus" in names()


@pytest.mark.slow
def test_songs_that_are_made_at_the_same_time_all_stay(tiny_family, tmp_path):
    options = ["generate", "x", "--seconds", "10", "--seed", "3", "--models", str(tiny_family), "--device", "cpu"]
    runs = [process(*options, folder=tmp_path) for _ in range(2)]
    said = sorted(run.communicate(timeout=300)[0].split("  ")[0] for run in runs)
    assert said == names(tmp_path) == ["x-3.flac", "x-3_2.flac"]


@pytest.mark.slow
def test_a_song_goes_to_stdout(tiny_family, tmp_path):
    options = ["--seconds", "10", "--seed", "3", "--models", str(tiny_family), "--device", "cpu"]
    command = [sys.executable, "-c", MAIN, "generate", "x", "-o", "-", "--format", "ogg", "--json", *options]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    made = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, timeout=300, check=True)
    assert names(tmp_path) == []
    (tmp_path / "a.ogg").write_bytes(made.stdout)
    assert audio.read(tmp_path / "a.ogg").seconds == 10 and read_tags(tmp_path / "a.ogg")["seed"] == "3"
    told = json.loads(made.stderr.decode().splitlines()[-1])
    assert (told["file"], told["seed"], told["seconds"]) == ("-", 3, 10)


@pytest.mark.skipif(sys.platform == "win32", reason="devices by name")
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_by_its_name_is_no_file_even_where_it_is_one(tmp_path, name):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (tmp_path / "a.wav").open("wb") as redirected:
        command = [sys.executable, "-c", MAIN, "generate", "x", "-o", name]
        done = subprocess.run(command, cwd=tmp_path, env=env, stdout=redirected, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and f"{name}: is a device or a pipe, expected a file; -o - --format wav" in done.stderr
    assert (tmp_path / "a.wav").read_bytes() == b"" and names(tmp_path) == ["a.wav"]


def test_other_models_than_those_that_made_a_song_are_named(generate, tiny_family, tmp_path, capsys):
    models = shutil.copytree(tiny_family, tmp_path / "own")
    options = ["-o", "a.wav", "--seconds", 10, "--seed", 3]
    _, out, _ = generate("x", *options, "--json", models=models)
    digests = json.loads(out[0])["digests"]
    assert json.loads(read_tags("a.wav")["digests"]) == digests
    assert cli.main(["show", "a.wav"]) == 0
    assert f"s {models}/s ({digests['s']})" in capsys.readouterr().out
    _, _, err = generate("--from", "a.wav", "-o", "b.wav", models=None)
    assert "not the files" not in err and Path("b.wav").read_bytes() == Path("a.wav").read_bytes()
    for slot in ("m", "vae"):
        for file in (models / slot).glob("*.safetensors"):
            data = bytearray(file.read_bytes())
            data[-1] ^= 1
            file.write_bytes(data)
    _, _, err = generate("--from", "a.wav", "-o", "b.wav", models=None)
    assert "note: m, vocoder: not the files that made this song before, so it will sound different" in err
    _, _, err = generate("--from", "a.wav", "-o", "b.wav", models=tiny_family)
    assert "not the files" not in err


def test_without_a_seed_songs_differ(generate):
    seeds = [json.loads(generate("x", "-o", "a.flac", "--seconds", 10, "--json")[1][0])["seed"] for _ in range(2)]
    assert seeds[0] != seeds[1]


def test_clips_change_the_song(generate):
    tone = 0.4 * torch.sin(torch.arange(32000) * 0.1)
    audio.write("clip.wav", audio.Waveform(tone.expand(1, 2, -1).clone(), 16000))
    code, _, err = generate(
        "x", "-o", "a.wav", "--seconds", 10, "--seed", 1, "--continue", "clip.wav", "--bit-depth", "32f"
    )
    assert code == 0, err
    kept = 30000
    assert torch.equal(audio.read("a.wav").samples[..., :kept], audio.read("clip.wav").samples[..., :kept])
    generate("x", "-o", "b.wav", "--seconds", 10, "--seed", 1, "--reference", "clip.wav")
    generate("x", "-o", "c.wav", "--seconds", 10, "--seed", 1)
    assert not torch.equal(audio.read("b.wav").samples, audio.read("c.wav").samples)
    generate("--from", "b.wav", "-o", "d.wav", models=None)
    assert torch.equal(audio.read("b.wav").samples, audio.read("d.wav").samples)


def test_a_song_is_played_while_it_is_decoded(generate, tmp_path, monkeypatch):
    code, _, err = generate("x", "-o", "a.wav", "--seconds", 10, "--seed", 1, "--play")
    assert code == 2 and "install one" in err if not shutil.which("ffplay") else code == 0
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ffplay").write_text("#!/bin/sh\nexec /bin/cat > heard.wav\n")
    (tmp_path / "bin" / "ffplay").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    generate("x", "-o", "a.wav", "--seconds", 10, "--seed", 1, "--play")
    song, heard = (audio.read(name).samples for name in ("a.wav", "heard.wav"))
    assert heard.shape == song.shape  # the same up to the level
    assert torch.allclose(heard / heard.abs().max(), song / song.abs().max(), atol=2e-2)


def test_loudness_is_met(generate):
    generate("x", "-o", "a.wav", "--seconds", 10, "--seed", 1, "--loudness", "-23")
    assert audio.loudness_lufs(audio.read("a.wav"))[0] == pytest.approx(-23, abs=0.2)


@pytest.mark.slow
def test_a_song_imports_only_what_it_uses(tiny_family, tmp_path):
    entry = (
        "import sys\nfrom acestep_core import __main__\nfrom acestep_core.cli import make\nplay = make._play\n"
        "unused = {'diffusers', 'transformers', 'peft', 'accelerate', 'torchaudio', 'scipy', 'sympy'}\n"
        "make._play = lambda *given: (play(*given), print(unused & set(sys.modules)))[0]\n"
        "sys.exit(__main__.command())"
    )
    asked = ["generate", "x", "-o", "a.wav", "--seconds", "10", "--loudness", "-23", "--models", str(tiny_family)]
    run = process(*asked, entry=entry, folder=tmp_path)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert out.startswith("set()\na.wav  10.0 s of music")
    assert audio.loudness_lufs(audio.read("a.wav"))[0] == pytest.approx(-23, abs=0.2)


def test_slots_dtype_and_offload(generate, tiny_family):
    slots = ["--l", tiny_family / "l", "--m", tiny_family / "m", "--s", tiny_family / "s"]
    generate("x", "-o", "a.wav", "--seconds", 10, "--seed", 1)
    generate("x", "-o", "b.wav", "--seconds", 10, "--seed", 1, "--offload", *slots, models=None)
    assert torch.equal(audio.read("a.wav").samples, audio.read("b.wav").samples)
    dtypes = ["--dtype", "bf16", "--vocoder-dtype", "bf16"]
    code, out, _ = generate("x", "-o", "c.wav", "--seconds", 10, "--seed", 1, *dtypes, "--json")
    settings = json.loads(out[0])["settings"]
    assert code == 0 and (settings["dtype"], settings["vocoder_dtype"]) == ("bf16", "bf16")
    generate("--from", "c.wav", "-o", "d.wav", models=None)
    assert torch.equal(audio.read("c.wav").samples, audio.read("d.wav").samples)


def test_notes_reach_the_user(generate):
    _, _, err = generate("x", "-o", "a.wav", "--seconds", 10, "--lyrics", "la " * 3000)
    assert "note: lyrics: too long" in err
    _, _, err = generate("x", "-o", "a.wav", "--seconds", 10, "--lyrics", "la " * 3000, "-q")
    assert err == ""


# ---- failures --------------------------------------------------------------------------------------------------------


def test_a_damaged_model_is_one_line(generate, tiny_family, tmp_path):
    shutil.copytree(tiny_family, tmp_path / "cut")
    weights = tmp_path / "cut" / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    code, out, err = generate("x", "-o", "a.wav", models=tmp_path / "cut")
    assert code == 2 and out == [] and len(err.splitlines()) == 1 and "model.safetensors" in err
    assert "a.wav" not in names()


@pytest.mark.parametrize(
    "number, message",
    [
        (errno.EACCES, "is not open to you (permission denied); change its permissions, or give another place"),
        (errno.EROFS, "is on a disk that can only be read; give another place"),
    ],
)
def test_a_folder_that_cannot_be_read_is_a_mistake_of_one_line(monkeypatch, capsys, number, message):
    def closed(self, **_):
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "stat", closed)
    for arguments in (["show", "a/b.flac"], ["lint", "a/b.txt"], ["library", "list", "--folder", "a/b"]):
        code, said = cli.main(arguments), capsys.readouterr()
        assert code == 2 and said.out == "" and len(said.err.splitlines()) == 1, said.err
        assert message in said.err or arguments[0] == "lint"


def test_a_full_disk_is_a_failure(generate, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = generate("x", "-o", "a.wav", "--seconds", 10)
    assert code == 1 and "failed: a.wav: could not be written (No space left on device)" in err.splitlines()[-1]
    assert names() == []


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_in_the_middle_of_a_stage_leaves_nothing_half_written(tiny_family, tmp_path):
    arguments = ["generate", "x", "-o", "a.flac", "--seconds", "600", "--steps", "1,900,1", "--seed", "1"]
    run = process(*arguments, "--models", str(tiny_family), folder=tmp_path)
    assert run.stderr.readline().startswith("l ")  # stage L is through, M plays for minutes
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 130, err
    assert out == "" and err == "acestep-cascade: stopped\n"
    assert names(tmp_path) == []


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a process that is ended there handles nothing")
def test_sigterm_during_a_save_leaves_nothing_half_written(tiny_family, tmp_path):
    entry = (
        "import os, signal, sys; from acestep_core.__main__ import command; flush = os.fsync; "
        "os.fsync = lambda file: signal.raise_signal(signal.SIGTERM) or flush(file); sys.exit(command())"
    )
    arguments = ["generate", "x", "-o", "a.flac", "--seconds", "10", "--steps", "1,1,1", "-q"]
    run = process(*arguments, "--models", str(tiny_family), entry=entry, folder=tmp_path)
    out, err = run.communicate(timeout=120)
    assert (run.returncode, out, err) == (-signal.SIGTERM, "", "acestep-cascade: stopped\n")
    assert names(tmp_path) == []


@pytest.mark.parametrize("module", ["torch", "argparse"])
def test_ctrl_c_while_libraries_are_imported_stops_at_once(tmp_path, module):
    (tmp_path / f"{module}.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept BaseException:\n    print('went on')"
    )
    entry = "import sys; from acestep_core.__main__ import command; sys.exit(command())"
    run = process("generate", "x", "-o", "a.flac", entry=entry, folder=tmp_path, before=tmp_path)
    out, err = run.communicate(timeout=120)
    assert (run.returncode, out, err) == (130, "", "acestep-cascade: stopped\n")


@pytest.mark.parametrize("place", ["system.threads.prepare_threads", "cli.parser.main"])
def test_ctrl_c_before_a_command_begins_or_after_it_ends_is_quiet(monkeypatch, capfd, place):
    from acestep_pack.acestep_core import __main__

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "_handle_signals", lambda: None)
    monkeypatch.setattr(f"acestep_pack.acestep_core.{place}", interrupted)
    threshold = gc.get_threshold()
    try:
        assert __main__.command() == 130 and capfd.readouterr() == ("", "acestep-cascade: stopped\n")
    finally:
        gc.set_threshold(*threshold)
        gc.unfreeze()


def test_ctrl_c_between_songs_keeps_the_finished_ones(generate, monkeypatch):
    from acestep_pack.acestep_core.generation.cascade import Cascade

    decode, calls = Cascade.decode, []

    def interrupted(self, *given):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return decode(self, *given)

    monkeypatch.setattr(Cascade, "decode", interrupted)
    code, out, err = generate("x", "-o", "a.wav", "--seconds", 10, "--count", 3)
    assert code == 130 and err.splitlines()[-1] == "acestep-cascade: stopped"
    assert names() == ["a_1.wav"] and len(out) == 1


# ---- models ----------------------------------------------------------------------------------------------------------


def test_models_lists_what_is_known_and_here(capsys):
    assert cli.main(["models"]) == 0
    out = capsys.readouterr().out.splitlines()
    row = next(line for line in out if line.startswith("acestep-v15-xl-turbo "))
    assert row.split()[1:] == ["L", "4.99", "B", "20.0", "GB", "no", "MIT"]
    assert cli.main(["models", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"tiny-l", "acestep-v15-turbo"} <= {row["name"] for row in rows}


def test_models_tells_what_fits_where(capsys):
    cli.main(["models"])
    out = capsys.readouterr().out
    assert re.search(r"\n +6 GB +8 GB +12 GB +16 GB +24 GB\ntiny +all +all +all +all +all\n", out)
    assert re.search(r"\npublished +layers +layers +parts +parts +all\n", out)
    assert re.search(r"\nany 2B model alone \(acestep-v15-turbo\) +parts +all +all +all +all\n", out)
    cli.main(["models", "--json"])
    rows = {row["name"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows["acestep-v15-xl-turbo"]["on_cards"]["12"] == rows["published"]["on_cards"]["12"] == "parts"
    assert "any 2B model alone" in rows  # as scripts know it
    assert rows["published"]["memory_gb"]["all"] > 16 and "memory_gb" not in rows["acestep-v15-vae"]


def test_the_bar_is_drawn_only_where_somebody_watches(monkeypatch, capsys):
    from acestep_pack.acestep_core.console import Console

    console = Console()
    console.bar("l", 1, 2, 0.5)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    console.bar("l", 1, 2, 0.5)
    console.result("made")
    said = capsys.readouterr()
    assert "1/2" in said.err and said.err.endswith("\r\033[K") and said.out == "made\n"


def test_characters_that_a_pipe_has_no_bytes_for_become_escapes(monkeypatch):
    from acestep_pack.acestep_core.console import Console

    pipe, wanted = io.BytesIO(), {"caption": "Café 静か 😀 \x81", "file": "\udcff.flac"}
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, encoding="cp1252", newline="\n"))
    Console().result("Café 静か")
    Console().result(json.dumps(wanted, ensure_ascii=False))
    plain, as_json = pipe.getvalue().decode("cp1252").splitlines()
    assert plain == "Café \\u9759\\u304b" and json.loads(as_json) == wanted
    assert sys.stdout.errors == "strict"  # the stream is the host's


def test_control_characters_are_escaped(monkeypatch, capsys):
    from acestep_pack.acestep_core.console import Console

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    console, foreign = Console(), "\x1b[31m\x07\x7f\x9b2J\r\u202egnp\t|\n|"
    escaped = r"\u001b[31m\u0007\u007f\u009b2J\u000d\u202egnp" + "\t|\n|"
    console.result(foreign)
    console.note(foreign)
    console.error(foreign)
    console.bar(foreign, 1, 2, 0.5)
    said = capsys.readouterr()
    assert said.out == f"{escaped}\n"
    assert said.err.startswith(f"{escaped}\nacestep-cascade: {escaped}\n{escaped}") and "\x1b" not in said.err
    console.result(json.dumps({"caption": foreign}, ensure_ascii=False))
    assert json.loads(capsys.readouterr().out.removeprefix("\r\x1b[K")) == {"caption": foreign}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="pipes there break in another way")
@pytest.mark.parametrize("closed", ["stdout", "both"])
def test_a_reader_that_is_gone_loses_no_song(closed, tiny_family, tmp_path):
    entry = "import sys; from acestep_core.__main__ import command; sys.exit(command())"
    command = ["generate", "x", "--seconds", "10", "--count", "2", "-o", "a.wav", "--models", str(tiny_family)]
    run = process(*command, entry=entry, folder=tmp_path)
    for name in ("stdout", "stderr"):
        if closed in (name, "both"):
            getattr(run, name).close()
    left = [stream.read() for stream in (run.stdout, run.stderr) if not stream.closed]
    assert run.wait(timeout=120) == 0, left
    assert names(tmp_path) == ["a_1.wav", "a_2.wav"]
    assert not any("Broken pipe" in text or "Exception" in text for text in left)


@pytest.mark.skipif(os.name == "nt", reason="pipes there break in another way")
@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"], ["generate", "--help"]])
def test_a_list_that_nobody_reads_to_its_end_ends_quietly(arguments, tmp_path):
    entry = "import sys; from acestep_core.__main__ import command; sys.exit(command())"
    run = process(*arguments, entry=entry, folder=tmp_path)
    run.stdout.close()
    assert run.stderr.read() == "" and run.wait(timeout=120) == 0


def test_a_current_folder_that_is_gone_is_told(monkeypatch, capsys, tmp_path):
    def gone():
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("os.getcwd", gone)
    assert cli.main(["lint", str(tmp_path / "x.txt")]) == 2
    assert "the current folder was removed or moved; change into another one" in capsys.readouterr().err

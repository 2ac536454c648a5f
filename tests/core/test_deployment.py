"""The files in the deployment guide are whole: by their own checkers where these are, else by their grammar."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import pytest

GUIDE = Path(__file__).resolve().parents[2] / "web" / "docs" / "guides" / "deployment.md"
INSTRUCTIONS = {"FROM", "RUN", "USER", "WORKDIR", "ENV", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def blocks(language):
    text = GUIDE.read_text(encoding="utf-8")
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert found, language
    return found


def test_the_unit_starts_a_command_that_parses(tmp_path):
    from acestep_pack.acestep_core.cli.parser import build_parser

    [text] = blocks("ini")
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string(text)
    assert unit.sections() == ["Unit", "Service", "Install"]
    program, *argv = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/acestep-cascade") and build_parser(argv).parse_args(argv).folder.endswith("/songs")
    if shutil.which("systemd-analyze") is None:
        return
    place = tmp_path / "acestep-cascade.service"
    place.write_text(text.replace(program, "/bin/true"))
    said = subprocess.run(["systemd-analyze", "verify", "--man=no", place], capture_output=True, text=True).stderr
    if "Failed to" in said:  # a machine without systemd's folders
        pytest.skip(said.splitlines()[0])
    assert "Unknown" not in said and "acestep-cascade.service:" not in said


@pytest.mark.parametrize("language, checker", [("nginx", "nginx"), ("caddyfile", "caddy")])
def test_the_proxies_files_are_whole(language, checker, tmp_path):
    for number, text in enumerate(blocks(language)):
        depth = 0
        for line in text.splitlines():
            line = line.strip()
            depth += line.endswith("{") - (line == "}")
            assert depth >= 0
            assert language != "nginx" or not line or line.endswith(("{", "}", ";")), line
        assert depth == 0
        if language == "caddyfile" and shutil.which(checker):
            place = tmp_path / f"Caddyfile{number}"
            place.write_text(text)
            adapted = ["caddy", "adapt", "--adapter", "caddyfile", "--config", str(place)]
            assert subprocess.run(adapted, capture_output=True).returncode == 0


def test_the_container_runs_a_command_that_parses():
    from acestep_pack.acestep_core.cli.parser import build_parser

    [text] = blocks("dockerfile")
    lines = text.splitlines()
    assert {line.split()[0] for line in lines} == INSTRUCTIONS and lines[0].startswith("FROM python:3.1")
    given = {
        name: json.loads(rest)
        for name, _, rest in (line.partition(" ") for line in lines)
        if name in ("ENTRYPOINT", "CMD")
    }
    assert given["ENTRYPOINT"] == ["acestep-cascade"]
    assert build_parser(given["CMD"]).parse_args(given["CMD"]).address == "0.0.0.0"


def test_the_clusters_file_is_yaml_of_rays_launcher():
    import yaml

    [text] = blocks("yaml")
    cluster = yaml.safe_load(text)
    assert cluster["provider"]["type"] == "local" and len(cluster["provider"]["worker_ips"]) == 2
    assert all(part.startswith("ray ") for key in cluster if key.endswith("ray_commands") for part in cluster[key])


def test_the_script_sends_every_graph_once_with_seeds_of_their_own(monkeypatch, tmp_path):
    [code] = blocks("python")
    sent = []

    def urlopen(asked):
        url = getattr(asked, "full_url", asked)
        if url.endswith("/prompt"):
            sent.append((url.removesuffix("/prompt"), json.loads(asked.data)["prompt"]))
            return BytesIO(json.dumps({"prompt_id": f"p{len(sent)}"}).encode())
        if "/history/" in url:
            sounds = {"9": {"audio": [{"filename": "song.flac", "type": "output"}]}}
            done = {"status": {"status_str": "success"}, "outputs": sounds}
            return BytesIO(json.dumps({url.rpartition("/")[2]: done}).encode())
        return BytesIO(url.encode())

    graph = {
        "1": {"class_type": "A", "inputs": {"seed": 5, "x": ["2", 0]}},
        "2": {"class_type": "B", "inputs": {"seed": ["1", 0]}},
    }
    (tmp_path / "graph.json").write_text(json.dumps(graph))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    monkeypatch.setattr("sys.argv", ["spread.py", "graph.json", "3", "http://a", "http://b"])
    exec(compile(code, str(GUIDE), "exec"), {"__name__": "__main__"})
    assert [server for server, _ in sent] == ["http://a", "http://b", "http://a"]
    assert [made["1"]["inputs"]["seed"] for _, made in sent] == [5, 6, 7]
    assert all(made["2"] == graph["2"] and made["1"]["inputs"]["x"] == ["2", 0] for _, made in sent)
    assert (tmp_path / "take_1_song.flac").read_text().startswith("http://b/view?filename=song.flac")

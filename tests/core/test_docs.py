"""README, guides and help pages: links that lead somewhere, commands that parse, the field's words."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from acestep_pack.acestep_core.cli.parser import build_parser

ROOT = Path(__file__).resolve().parents[2]
README, GUIDES, HELP = ROOT / "README.md", ROOT / "web/docs/guides", ROOT / "web/docs"
READ = [README, *sorted(GUIDES.glob("*.md"))]
PAGES = [*READ, *sorted(HELP.glob("*.md"))]
VIEWER = "/acestep-cascade/guides/index.html?"  # of the help panel, which resolves no relative link
COMMAND = re.compile(r"^(?:\S+=\S+ )*(?:\S*/)?(?:acestep-cascade|python -m acestep_core) (.+)$")

# Words that the project once used for terms of the field, each with a sentence of that time.
JARGON = {
    r"\blooks?\b": "one look of the embedded models is then 0.6 % off",
    r"\bstretch(es|ed)?\b": "each a model and a stretch of flow time",
    r"\b(told|tells?)\b": "matched as it is, told and (15 % of the time) not told",
    r"\b(heard|hears)\b": "the finished music as this stage hears it now",
    r"\b(wears?|worn|wearing|dress(ed)?|outfits?)\b": "a stage that wears an adapter",
    r"\b(learnt|taught)\b": "judged on 16 clips that nothing learnt from",
    r"\bwish(es)?\b": "nothing is loaded before all wishes are checked",
    r"\bWhat\b": "What the text encoder made of a caption is kept on disk",
    r"\b(may|might) have been recorded\b": "songs whose steps may have been recorded were timed, but not counted whole",
    r"\blacks? what\b": "ComfyUI's files lack what silence is in latents",
}


def prose(page: Path) -> str:
    """A page without its code and the addresses of its links."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`\n]+`", "", text))


def links(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("https://")]


def anchors(page: Path) -> set[str]:
    """Those that GitHub gives a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(page: Path) -> list[str]:
    """Arguments of the command lines in blocks and in the text."""
    text = page.read_text(encoding="utf-8")
    lines = [*"".join(shell_blocks(page)).splitlines(), *re.findall(r"`([^`\n]+)`", text)]
    return [found[1] for line in lines if (found := COMMAND.match(line))]


def shell_blocks(page: Path) -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def runnable(page: Path) -> list[str]:
    """Blocks that run with what the pack ships, in the folder in which those of the guides before have run."""
    pattern = r"^<!-- runnable -->\n```bash\n(.*?)^```$"
    return re.findall(pattern, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def relative(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_the_readme_is_read_at_one_sitting():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 250


@pytest.mark.parametrize("page", READ, ids=relative)
def test_every_link_leads_to_a_file_and_to_its_heading(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_links_of_help_pages_lead_to_guides_that_the_viewer_lists():
    viewer = (GUIDES / "index.html").read_text(encoding="utf-8")
    listed = re.findall(r'href="\?(\w+)"', viewer)
    assert sorted(listed) == sorted(guide.stem for guide in GUIDES.glob("*.md"))
    for page in HELP.glob("*.md"):
        for link in links(page):
            assert link.startswith(VIEWER) and link.removeprefix(VIEWER) in listed, f"{page.name}: {link}"


def test_the_guide_to_the_code_names_files_and_functions_that_are_there():
    guide = (GUIDES / "how_it_is_built.md").read_text(encoding="utf-8")
    sources = [*ROOT.glob("acestep_core/**/*.py"), *ROOT.glob("nodes/**/*.py")]
    code = "\n".join(source.read_text(encoding="utf-8") for source in sources)
    files = re.findall(r"`([\w/]+\.py)`", guide)
    functions = re.findall(r"`(?:\w+\.)?(\w+)\(\)`|`Cascade\.(\w+)`", guide)
    assert files and functions
    assert [file for file in files if not ((ROOT / file).is_file() or (ROOT / "acestep_core" / file).is_file())] == []
    assert [one for pair in functions for one in pair if one and not re.search(rf"def {one}\(", code)] == []


def test_the_guide_to_the_code_has_every_room():
    guide = (GUIDES / "how_it_is_built.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^- `(\w+)` — ", guide, re.MULTILINE)
    folders = [file.parent.name for file in ROOT.glob("acestep_core/*/__init__.py")]
    assert sorted(rooms) == sorted(folders)


def test_the_readme_links_to_every_guide():
    assert {relative(guide) for guide in GUIDES.glob("*.md")} <= set(links(README))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_command_line_parses(page):
    for line in commands(page):
        argv = shlex.split(line, comments=True)
        if "--help" not in argv:
            build_parser(argv).parse_args(argv)


def test_command_lines_are_found_in_blocks_and_in_the_text():
    found = [line.split()[0] for page in PAGES for line in commands(page)]
    assert {"generate", "show", "models", "lora", "train", "bench"} <= set(found)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_pages_use_the_words_of_the_field(page):
    text = prose(page)
    assert [found[0] for pattern in JARGON if (found := re.search(pattern, text))] == []


@pytest.mark.parametrize("pattern", JARGON)
def test_each_pattern_finds_the_sentence_that_it_is_for(pattern):
    assert re.search(pattern, JARGON[pattern])


# ---- commands that run -----------------------------------------------------------------------------------------------

bash = pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")


@bash
def test_a_shell_reads_every_block():
    blocks = [block for page in READ for block in shell_blocks(page)]
    filled = [re.sub(r"<[a-zA-Z][^<>\n]*>", "placeholder", block) for block in blocks]
    for block in filled:
        read = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert read.returncode == 0, f"{block}{read.stderr}"


@bash
@pytest.mark.slow
def test_runnable_commands_of_the_guides_run(tmp_path):
    """In an empty folder, one block after the other; each names the files that it makes."""
    program = tmp_path / "bin" / "acestep-cascade"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m acestep_core "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    work = tmp_path / "work"
    work.mkdir()
    for block in [block for page in READ for block in runnable(page)]:
        run = subprocess.run(["bash", "-e"], input=block, cwd=work, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, f"{block}{run.stderr}"
        for named in re.findall(r" -o (\S+)", block):
            assert (work / named).stat().st_size > 1000

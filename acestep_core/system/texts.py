"""Text files of users: UTF-8, or UTF-16 with its mark, of a bounded size."""

from pathlib import Path

from ..errors import UserError

UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_bytes(path: Path, most: int, name: str | None = None) -> bytes:
    """A file of at most so many bytes. `name` stands in errors, else the file's own. Raises UserError."""
    name = name or path.name
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as exc:
        raise UserError(f"{name}: could not be read ({exc.strerror})") from exc
    if len(data) > most:
        raise UserError(f"{name}: got more than {most:,} bytes, expected a text; shorten it, or choose another")
    return data


def read_text(path: Path, most: int, name: str | None = None) -> str:
    """The text of a file of at most so many bytes, its lines ended by "\\n". `name` as above. Raises UserError."""
    data = read_bytes(path, most, name)
    try:
        text = data.decode("utf-16" if data[:2] in UTF_16_MARKS else "utf-8-sig")
    except UnicodeDecodeError as exc:
        raise UserError(f"{name or path.name}: is not UTF-8 text; save it as UTF-8") from exc
    return text.replace("\r\n", "\n").replace("\r", "\n")

"""Mutations of text that people write: captions, tables, numbers a line."""

from .draw import Draw

CELLS = (
    *("", " ", "x", "nan", "inf", "-inf", "-1", "0", "1e999", "-1e999", "9" * 5000, f"1{'0' * 400}", "0x10", "1_000"),
    *("٣", "１２０", "½", "null", "None", "true", "[]", "{}", "1,2", '"', "'", "=1+1", "\x1b[31m\x07mutant", "\x00"),
    *("![x](http://example.com/a.png)", "<img src=x>", "../../../x.wav", "/etc/passwd", "C:\\x.wav", "a" * 200_000),
)
SPACES = " " * 200_000


def cell(text: str, draw: Draw) -> str:
    """One value of a table, or of a line, is another."""
    lines = text.split("\n")
    number = draw.randrange(len(lines))
    separator = "\t" if "\t" in text else "," if "," in lines[0] else ":"
    cells = lines[number].split(separator)
    cells[draw.randrange(len(cells))] = draw.in_turn(CELLS)
    lines[number] = separator.join(cells)
    return "\n".join(lines)


def lines(text: str, draw: Draw) -> str:
    """Lines lost, doubled, in another order, ended otherwise, or without end."""
    given = text.split("\n")
    return draw.in_turn(
        (
            "\n".join(given[1:]),
            "\n".join(given[:1]),
            "\n".join([given[0], *given]),
            "\n".join(given[::-1]),
            "\r\n".join(given),
            "\r".join(given),
            "\u2028".join(given),
            "\n" * 100_000 + text,
            text * 2000,
            f"{SPACES}{text}",
            f"{given[0]}\n{'a ' * 100_000}",
            f"{'a ' * 100_000}\n{text}",
            f"{SPACES}x\n{text}",
            f"{text}\n{SPACES}\n",
            "".join(f"{letter}\n" for letter in text),
        )
    )


def marks(text: str, draw: Draw) -> str:
    """Quotes and separators lost, doubled or others."""
    return draw.in_turn(
        (
            text.replace(",", ";"),
            text.replace(",", "\t"),
            text.replace(",", ",,"),
            text.replace(",", '","', 1),
            text.replace("\n", '\n"', 1),
            text.replace(":", "::"),
            text.replace(":", "="),
            text.replace(":", ""),
            f'"{text}',
            f"{text}\x00",
            text.replace("a", "\x00", 1),
            text.replace("a", "\x1b[31m\x07", 1),
            text.replace(" ", "\u00a0"),
            text.replace("\n", ",\n"),
            text.upper(),
        )
    )


TEXT = {function.__name__: function for function in (cell, lines, marks)}

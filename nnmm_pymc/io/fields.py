"""The fields of a line of text: what separates them, and quotation marks around them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nnmm_pymc.errors import InputError

#: Between the fields of a row that held quotation marks: no file may contain it.
UNIT = b"\x1f"
NOTHING = b"\0"  # separates nothing, as no file may contain it either


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a text table: the first field, and the others with `sep` between them.

    `body` is as it stands in the file, blanks around the cells included, but without quotes.
    """

    name: str
    body: bytes
    sep: bytes

    @property
    def cells(self) -> list[bytes]:
        """All fields but the first."""
        return self.body.split(self.sep)

    @property
    def texts(self) -> list[str]:
        """The same without blanks around them."""
        return [cell.decode().strip() for cell in self.cells]


class Written(Mapping[str, list[str]]):
    """Columns of a table as they are written, taken out of its rows when they are asked for."""

    def __init__(self, names: Sequence[str], rows: Sequence[Row], transposed: bool = False) -> None:
        self._places = {name: j for j, name in enumerate(names)}
        self._rows, self._transposed = rows, transposed

    def __getitem__(self, name: str) -> list[str]:
        j = self._places[name]
        return self._rows[j].texts if self._transposed else self.columns([j])[j]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def columns(self, places: Sequence[int]) -> dict[int, list[str]]:
        """Several columns that stand below each other, by their places."""
        found: dict[int, list[str]] = {j: [] for j in places}
        for row in self._rows if found else ():
            cells = row.cells
            for j, column in found.items():
                column.append(cells[j].decode().strip())
        return found


def split_line(line: bytes, sep: bytes | None) -> list[str]:
    """Fields of a line, without quotes; `sep` None is any white space.

    Raises ValueError if quotation marks are not in pairs around whole fields.
    """
    if b'"' not in line:
        cells = line.split(sep) if sep else line.split()
        return [cell.decode().strip() for cell in cells]
    if sep is None:
        text, plain, end = line.decode().strip(" \t") + " ", r'[^"\s]+', r"\s+"
    else:
        mark = re.escape(sep.decode())
        text, plain, end = line.decode() + sep.decode(), rf'[^"{mark}]*', rf" *{mark}"
    field = re.compile(rf' *(?:"((?:[^"]|"")*)"|({plain})){end}', re.ASCII)
    fields, at = [], 0
    while at < len(text):
        found = field.match(text, at)
        if found is None:
            raise ValueError
        quoted, bare = found.groups()
        fields.append((bare if quoted is None else quoted.replace('""', '"')).strip())
        at = found.end()
    return fields


def given_separator(sep: str) -> bytes | None:
    """The separator that a user named; None is any white space."""
    if sep in (" ", r"\s+"):
        return None
    if len(sep.encode()) != 1 or sep.isalnum() or sep in '."+-_':
        raise InputError(
            f"sep={sep!r} is not one character that separates: give ',', ';', a tab or a space."
        )
    return sep.encode()


def find_separator(header: bytes, first: bytes) -> bytes | None:
    """The one separator that splits the first two lines alike; None is any white space.

    A tab in the header is one. Otherwise what stands in the header goes first, as "ID y" above
    "a 1,5" has no comma, and white space separates only where nothing else may.
    """
    if b"\t" in header:
        return b"\t"
    marks = [b",", b";"]
    inside = [mark for mark in marks if mark in header]
    blank = b" " in header.strip()
    candidates: list[bytes | None] = [*inside]
    if not inside and not blank:
        # "y" above "a<tab>5" has tabs.
        candidates = [b"\t" if b"\t" in first else None, *marks]
    elif blank and not any(mark in first for mark in inside):
        candidates.append(None)
    fitting = [sep for sep in candidates if _split_alike(header, first, sep)]
    if len(fitting) == 1:
        return fitting[0]
    return inside[0] if inside and not fitting else NOTHING


def _split_alike(header: bytes, first: bytes, sep: bytes | None) -> bool:
    try:
        fields, names = split_line(first, sep), split_line(header, sep)
    except ValueError:
        return False
    # What separates may not be left at the end of a field.
    ends = (cell[:1] + cell[-1:] for cell in (*fields, *names))
    clean = not any("," in end or ";" in end for end in ends)
    return len(fields) > 1 and len(fields) - len(names) in (0, 1) and clean

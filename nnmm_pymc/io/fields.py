"""The fields of a line of text: what separates them, and quotation marks around them."""

from __future__ import annotations

import re
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
    """Separator that splits the first two lines alike; None is any white space.

    Separators in the header go first, as "ID y" above "a 1,5" has no comma; tabs before all, as
    names rarely hold any. White space separates only where nothing else may.
    """
    marks = sorted((b"\t", b",", b";"), key=lambda sep: -header.count(sep))
    inside = sorted((sep for sep in marks if sep in header), key=lambda sep: sep != b"\t")
    blank = b" " in header.strip()
    candidates: list[bytes | None] = list(inside or ([] if blank else marks))
    if (blank or not inside) and b"\t" not in header and not any(sep in first for sep in inside):
        # "y" above "a<tab>5" has tabs.
        candidates.insert(1 if b"\t" in candidates else 0, None)
    for sep in candidates:
        try:
            fields, names = split_line(first, sep), split_line(header, sep)
        except ValueError:
            continue
        # What separates may not be left at the end of a field.
        ends = (cell[:1] + cell[-1:] for cell in (*fields, *names))
        clean = not any("," in end or ";" in end for end in ends)
        if len(fields) > 1 and len(fields) - len(names) in (0, 1) and clean:
            return sep
    return inside[0] if inside else NOTHING

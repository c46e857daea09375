"""Text tables line by line, so that every complaint names a line: encoding, separator, header.

Lines stay bytes here; who reads them decides what a cell means.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from nnmm_pymc.errors import InputError


def as_path(source: object) -> Path:
    """The path that a user gave, or a complaint about what else it is."""
    if not isinstance(source, str | Path):
        raise InputError(
            f"data of type {type(source).__name__} cannot be read: give a path, a DataFrame or, "
            "for genotypes, a two-dimensional array."
        )
    return Path(source).expanduser()


def unreadable(path: Path, error: Exception) -> InputError:
    """The complaint about a file that cannot be opened or read to its end."""
    if isinstance(error, IsADirectoryError) or path.is_dir():
        why = "this is a directory: give a file"
    elif isinstance(error, FileNotFoundError):
        why = f"there is no such file in {path.parent.resolve()}"
    else:
        why = f"the file cannot be read ({getattr(error, 'strerror', None) or error})"
    return InputError(f"{path.name}: {why}.")


def text_lines(path: Path, source: str) -> Iterator[tuple[int, bytes]]:
    """Line number and line, without its end, of every line that is not blank."""
    try:
        with path.open("rb") as file:
            zipped = file.peek(2)[:2] == b"\x1f\x8b"
            for number, line in enumerate(gzip.open(file) if zipped else file, start=1):
                line = line.rstrip(b"\r\n")
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if b"\0" in line or b"\r" in line or not _is_utf8(line):
                    raise InputError(
                        f"{source}: line {number} is not UTF-8 text: save the data as a plain text "
                        "table, or check that this is the right file."
                    )
                if line.strip(b" "):
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from None


def _is_utf8(line: bytes) -> bool:
    try:
        return line.isascii() or bool(line.decode())
    except UnicodeDecodeError:
        return False


def _split(line: bytes, sep: bytes | None) -> list[str]:
    """Fields of a line, without quotes; `sep` None is any white space."""
    text = line.decode()
    if '"' not in text:
        return [field.strip() for field in (text.split(sep.decode()) if sep else text.split())]
    if sep is None:
        return [field.strip('"') for field in re.findall(r'"[^"]*"|\S+', text)]
    row = next(csv.reader([text], delimiter=sep.decode(), skipinitialspace=True))
    return [field.strip() for field in row]


class TextFile:
    """Header and rows of a text table; every row is sure to have the right number of fields.

    Iterating gives (line number, line); in a line of a white-space table single spaces separate.
    """

    def __init__(self, path: Path, source: str, sep: str | None) -> None:
        self.source = source
        rows = text_lines(path, source)
        header = next(rows, None)
        first = next(rows, None)
        if header is None or first is None:
            what = "the file is empty" if header is None else "there is a header but no data"
            raise InputError(f"{source}: {what}.")
        self.splitter = _separator(header[1], first[1]) if sep is None else _given(sep)
        self.sep = self.splitter or b" "
        names = _split(header[1], self.splitter)
        self.fields = len(_split(first[1], self.splitter))
        if self.fields not in (len(names), len(names) + 1) or self.fields < 2:
            raise InputError(
                f"{source}: the header has {len(names)} fields and line {first[0]} has "
                f"{self.fields}: there must be IDs and at least one more column, separated alike."
            )
        # R leaves out the name of the ID column.
        unnamed = self.fields > len(names)
        self.id_name = "" if unnamed else names[0]
        self.names = names if unnamed else names[1:]
        self.positions = range(1 if unnamed else 2, len(names) + 1)
        self.is_plink = self.id_name.lstrip("#") == "FID" and self.names[0] == "IID"
        self._rows = chain([first], rows)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        for number, line in self._rows:
            if b'"' in line:
                fields = len(_split(line, self.splitter))
            elif self.splitter is None:
                cells = line.split()
                fields, line = len(cells), b" ".join(cells)
            else:
                fields = line.count(self.splitter) + 1
            if fields != self.fields:
                raise InputError(
                    f"{self.source}: line {number} has {fields} fields where {self.fields} belong."
                )
            yield number, line

    def split_name(self, line: bytes) -> tuple[str, bytes]:
        """First field and the rest of a line."""
        if b'"' in line:
            name, *cells = _split(line, self.splitter)
            return name, self.sep.join(cell.encode() for cell in cells)
        first, _, rest = line.partition(self.sep)
        return first.decode(), rest


def _given(sep: str) -> bytes | None:
    if sep in (" ", r"\s+"):
        return None
    if len(sep.encode()) != 1:
        raise InputError(f"sep={sep!r} is not one character: give ',', ';', a tab or a space.")
    return sep.encode()


def _separator(header: bytes, first: bytes) -> bytes | None:
    """Separator that splits the first two lines alike; None is any white space."""
    candidates = sorted((b"\t", b",", b";"), key=lambda sep: header.count(sep), reverse=True)
    for sep in [*candidates, None]:
        fields = len(_split(first, sep))
        if fields > 1 and fields - len(_split(header, sep)) in (0, 1):
            return sep
    return candidates[0] if header.count(candidates[0]) else None

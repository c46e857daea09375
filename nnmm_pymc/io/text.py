"""Text tables line by line, so that every complaint names a line: encoding, separator, header.

Lines stay bytes here; who reads them decides what a cell means.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from nnmm_pymc.data.names import MISSING_TEXT, short, some
from nnmm_pymc.data.numbers import TRUTH, as_number
from nnmm_pymc.errors import InputError
from nnmm_pymc.io.fields import UNIT, Row, find_separator, given_separator, split_line

CONTROL = bytes([*range(9), *range(11, 32), 127])  # all but tab and line feed
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
#: What the column of IDs is called, if it is called anything.
ID_WORDS = frozenset({"", "id", "ids", "iid", "fid", "individual", "animal", "sample", "name"})


def as_path(source: object) -> Path:
    """The path that a user gave, or a complaint about what else it is."""
    if not isinstance(source, str | Path):
        raise InputError(
            f"data of type {type(source).__name__} cannot be read: give a path, a DataFrame or, "
            "for genotypes, a two-dimensional array."
        )
    if "\0" in str(source):
        raise InputError(f"{source!r} is no path: give the name of a file.")
    try:
        path = Path(source).expanduser()
    except RuntimeError:  # ~ of nobody
        path = Path(source)
    try:
        path.exists()
    except OSError as error:
        raise InputError(
            f"{short(path.name)}: there can be no such file ({error.strerror}): give the name of "
            "a file."
        ) from None
    return path


def unreadable(path: Path, error: Exception) -> InputError:
    """The complaint about a file that cannot be opened or read to its end."""
    if isinstance(error, IsADirectoryError) or path.is_dir():
        why = "this is a directory: give a file"
    elif isinstance(error, FileNotFoundError):
        why = f"there is no such file in {path.parent.resolve()}: check the name"
    else:
        detail = getattr(error, "strerror", None) or error
        why = f"the file cannot be read to its end ({detail}): check it, or copy it again"
    return InputError(f"{path.name or path}: {why}.")


def text_lines(path: Path, source: str) -> Iterator[tuple[int, bytes]]:
    """Line number and line, without its end, of every line that is not blank."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{source}: this is a pipe or device: save the data as a file first.")
    try:
        with path.open("rb") as file:
            zipped = file.peek(2)[:2] == b"\x1f\x8b"
            for number, line in enumerate(gzip.open(file) if zipped else file, start=1):
                line = line.rstrip(b"\r\n")
                if number == 1:
                    line = line.removeprefix(BYTE_ORDER_MARK)
                fault = _not_text(line)
                if fault:
                    raise InputError(
                        f"{source}: line {number} is not UTF-8 text ({fault}): save the data as a "
                        "plain text table in UTF-8, or check that this is the right file."
                    )
                if line.strip(b" "):
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from None


def _not_text(line: bytes) -> str:
    """What is wrong with a line that is not plain text; empty if nothing is."""
    if b"\0" in line:
        return "it has a NUL byte, as UTF-16 and binary files have"
    if b"\r" in line:
        return "it has a carriage return inside, as files of an old Mac have"
    if len(line.translate(None, CONTROL)) < len(line):
        return "it has a control character"
    if line.isascii():
        return ""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return f"byte 0x{line[error.start]:02x} at position {error.start + 1}"
    return "it has a byte-order mark inside" if "\ufeff" in text else ""


class TextFile:
    """Header and rows of a text table; every row is sure to have the right number of fields.

    `rows` gives the number of a line and its `Row`; iterating gives the line itself, where single
    spaces separate if any white space does.
    """

    def __init__(
        self, path: Path, source: str, sep: str | None, id_column: str | None = None
    ) -> None:
        self.path, self.source = path, source
        lines = text_lines(path, source)
        header = next(lines, None)
        first = next(lines, None)
        if header is None or first is None:
            what = "the file is empty" if header is None else "there is a header but no data"
            raise InputError(f"{source}: {what}: check that this is the right file.")
        if header[1].startswith((b"##fileformat=VCF", b"#CHROM")):
            raise InputError(
                f"{source}: this is a VCF file: make a .bed file of it with 'plink --vcf FILE "
                "--make-bed', and give that."
            )
        self.splitter = find_separator(header[1], first[1]) if sep is None else given_separator(sep)
        self.sep = self.splitter or b" "
        names, cells = self._split(*header), self._split(*first)
        self.fields = len(cells)
        # R leaves out the name of the ID column.
        self.unnamed = self.fields > len(names)
        self.id_name = "" if self.unnamed else names[0]
        self.names = names if self.unnamed else names[1:]
        self.positions = range(1 if self.unnamed else 2, len(names) + 1)
        self._check_widths(names, header[1], first[0], id_column)
        self._check_header(cells[0], first[0])
        self.is_plink = _word(self.id_name) == "fid" and _word(self.names[0]) == "iid"
        self._lines: Iterator[tuple[int, bytes]] | None = chain([first], lines)

    def _check_widths(
        self, names: list[str], header: bytes, line: int, id_column: str | None
    ) -> None:
        """Refuse a header that does not fit the lines below it."""
        fits = self.fields in (len(names), len(names) + 1) and self.fields >= 2
        # One field more is as likely a decimal comma, or a separator at the end of every line.
        comma = self.splitter == b"," and b'"' not in header
        doubtful = comma or (_word(names[0]) in ID_WORDS and names[0] != id_column)
        if not fits or (self.unnamed and doubtful):
            raise InputError(
                f"{self.source}: the header has {len(names)} fields and line {line} has "
                f"{self.fields}: there must be IDs and at least one more column, all named in the "
                "header and separated alike; write decimal points, not commas, and no separator "
                "at the end of a line."
            )

    @property
    def names_ids(self) -> bool:
        """Whether the first line calls the IDs so, and is a header therefore."""
        return self.unnamed or _word(self.id_name) in ID_WORDS

    def _check_header(self, first: str, line: int) -> None:
        """Refuse a first line that looks like data, since its individual would be lost."""
        if _word(first) in {"id", "iid", "fid"}:
            raise InputError(
                f"{self.source}: line {line} looks like the header, but it is not the first: take "
                "out what stands above it."
            )
        if self.names_ids or len({*self.names}) < len(self.names):
            return  # names that occur twice are refused later
        present = [name for name in (self.id_name, *self.names) if name not in MISSING_TEXT]
        data = [name for name in present if is_value(name)]
        # Some columns may be called by whole numbers, but not all, nor that of the IDs.
        odd = is_value(self.id_name) or not all(map(str.isdigit, data))
        if data and (odd or len(data) >= len(present) - 1):
            raise InputError(
                f"{self.source}: the first line looks like data ({some(data)}): put a header above "
                "it, or, if it is the header, call its first field ID."
            )

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        return ((number, line) for number, line, _ in self._checked())

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Line number and row of every line below the header."""
        return ((number, row) for number, _, row in self._checked())

    def _checked(self) -> Iterator[tuple[int, bytes, Row]]:
        lines, self._lines = self._lines, None
        if lines is None:  # not the first time
            lines = text_lines(self.path, self.source)
            next(lines)
        blank = self.unnamed and self.splitter is not None
        for number, line in lines:
            if self.splitter is None and (b"\t\t" in line or line.endswith(b"\t")):
                raise InputError(
                    f"{self.source}: line {number} has two tabs in a row or one at its end: if a "
                    "cell is missing write NA, if none is take the tab out."
                )
            if self.splitter is None and b'"' not in line:
                line = b" ".join(line.split())
            row, fields = self._row(number, line)
            if fields != self.fields:
                raise InputError(
                    f"{self.source}: line {number} has {fields} fields where {self.fields} belong: "
                    "separate it like the other lines, and leave missing cells empty or NA."
                )
            blank = blank and row.body.endswith(row.sep)
            yield number, line, row
        if blank:
            raise InputError(
                f"{self.source}: every line but the header ends in a separator, so that names do "
                "not match their columns: take it out."
            )

    def _row(self, number: int, line: bytes) -> tuple[Row, int]:
        """A line taken apart, and its number of fields."""
        if b'"' not in line:
            name, found, body = line.partition(self.sep)
        elif (
            self.splitter and line[:1] == b'"' and line.count(b'"') == 2 and b'"' + self.sep in line
        ):
            name, found, body = line[1:].partition(b'"' + self.sep)  # R quotes IDs, but no numbers
        else:
            first, *cells = self._split(number, line)
            return Row(first, UNIT.join(map(str.encode, cells)), UNIT), len(cells) + 1
        return Row(name.decode(), body, self.sep), body.count(self.sep) + 2 if found else 1

    def _split(self, number: int, line: bytes) -> list[str]:
        try:
            return split_line(line, self.splitter)
        except ValueError:
            raise InputError(
                f"{self.source}: line {number}: a quotation mark is not closed, or not around a "
                "whole field: put pairs around whole fields, or take them out."
            ) from None

    def split_name(self, line: bytes) -> tuple[str, bytes]:
        """First field and the rest of a line."""
        row, _ = self._row(0, line)
        return row.name, row.body


def _word(name: str) -> str:
    return name.strip().lstrip("#").lower()


def is_value(name: str) -> bool:
    """Whether a name would be a number or a truth value, were it a cell."""
    return name in TRUTH or bool(np.isfinite(as_number(name, ())))

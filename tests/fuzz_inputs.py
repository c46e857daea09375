"""Ways to spoil the files of `fuzz_samples`; `spoilt` gives the same file for the same seed."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from fuzz_samples import SAMPLES, Case, Rng, pick

# --- spoiling bytes -------------------------------------------------------------------------------

GARBAGE = [
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"\x1f\x8b\x08",
    b"\r", b"\r\n", b"\n\n", b"\x1a", b"\x0b", b"\x0c", b"\x1f", b"\xa0", b"\xc2\xa0",
    b"\xe2\x80\x8b", b"\xe2\x80\xa8", b"\xe9", b"\xc3\xa9", b'"', b"'", b",", b";", b"\t", b" ",
    b"|", b"#", b"\\", b"=", b"~", b"(", b"{", b"[", b"0", b"-", b".", b"e", b"_",
]  # fmt: skip


def _cut(data: bytes, rng: Rng) -> tuple[int, int]:
    start, end = sorted(rng.integers(0, len(data) + 1, 2))
    return int(start), int(end)


def truncate(data: bytes, rng: Rng) -> bytes:
    return data[: rng.integers(0, len(data) + 1)]


def delete(data: bytes, rng: Rng) -> bytes:
    start, end = _cut(data, rng)
    return data[:start] + data[min(end, start + 20) :]


def repeat(data: bytes, rng: Rng) -> bytes:
    start, end = _cut(data, rng)
    return data[:end] + data[start:]


def change_bytes(data: bytes, rng: Rng) -> bytes:
    changed = bytearray(data)
    for at in rng.integers(0, len(data), rng.integers(1, 4)) if data else ():
        changed[at] = rng.integers(256)
    return bytes(changed)


def insert(data: bytes, rng: Rng) -> bytes:
    at = rng.integers(0, len(data) + 1)
    return data[:at] + pick(rng, GARBAGE) * int(rng.integers(1, 3)) + data[at:]


def replace_by_noise(data: bytes, rng: Rng) -> bytes:
    return rng.bytes(int(rng.integers(0, 400)))


def empty(data: bytes, rng: Rng) -> bytes:
    return pick(rng, [b"", b"\n", b"  \n\n", b"\xef\xbb\xbf", b"\0" * 50])


def huge_field(data: bytes, rng: Rng) -> bytes:
    at = rng.integers(0, len(data) + 1)
    return data[:at] + pick(rng, [b"x", b"9", b'"', b"("]) * 200_000 + data[at:]


def zipped(data: bytes, rng: Rng) -> bytes:
    packed = gzip.compress(data, mtime=0)
    return pick(rng, [packed, packed[:-5], gzip.compress(packed, mtime=0), packed + b"junk"])


BYTES = [truncate, delete, repeat, change_bytes, change_bytes, insert, insert, replace_by_noise,
         empty, zipped]  # fmt: skip

# --- spoiling text --------------------------------------------------------------------------------


def encode(data: bytes, rng: Rng) -> bytes:
    text = data.decode(errors="replace")
    return text.encode(pick(rng, ["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"]), "replace")


def mark(data: bytes, rng: Rng) -> bytes:
    return b"\xef\xbb\xbf" * int(rng.integers(1, 3)) + data


def line_ends(data: bytes, rng: Rng) -> bytes:
    return data.replace(b"\n", pick(rng, [b"\r\n", b"\r", b"\r\r\n", b"\n\r", b"\n\n", b" \n"]))


def some_line_ends(data: bytes, rng: Rng) -> bytes:
    return re.sub(rb"\n", lambda m: m[0] if rng.random() < 0.6 else b"\r\n", data)


TEXT = [encode, mark, line_ends, some_line_ends]

# --- spoiling tables ------------------------------------------------------------------------------

NUMBERS = [
    *"1e999 -1e999 inf -Infinity nan NAN -nan 1e-400 0x10 1_000 1d3 +.5 5. 1e --5 1/2".split(),
    *"5% #N/A 1,5 1.000,5 1'000 ? - TRUE yes -1 3 2.0001 -0.0 1e-12 1e12 0/1 A/T -9".split(),
    "½", "\u0663", "\uff11", "1 000", "9" * 400, "12345678901234567890123",
    "0.1000000000000000055511151231257827",
]  # fmt: skip
NAMES = ["NA", "nan", "", " ", "007", "1e5", "1.0", " a ", '"a b"', '"', "None", "0", "é",
         "e\u0301", "\ufeffa", "a\u00a0", "inf", "x" * 300]  # fmt: skip


def _edit_cells(data: bytes, sep: str | None, edit: Callable[[list[list[bytes]]], object]) -> bytes:
    """Lines with their fields changed by `edit`."""
    mark = (sep or " ").encode()
    rows = [line.split(mark) for line in data.removesuffix(b"\n").split(b"\n")]
    rows = edit(rows) or rows
    return b"".join(mark.join(row) + b"\n" for row in rows)


def _spot(rows: list[list[bytes]], rng: Rng) -> tuple[int, int]:
    i = int(rng.integers(len(rows)))
    return i, int(rng.integers(len(rows[i])))


def strange_cell(rows, rng):
    i, j = _spot(rows, rng)
    rows[i][j] = pick(rng, NUMBERS if i and j else NAMES).encode()


def strange_column(rows, rng):
    j, number = int(rng.integers(len(rows[0]))), pick(rng, NUMBERS)
    for row in rows[1:]:
        row[min(j, len(row) - 1)] = number.encode()


def strange_name(rows, rng):
    i, j = pick(rng, [(0, int(rng.integers(len(rows[0])))), (int(rng.integers(len(rows))), 0)])
    rows[i][j] = pick(rng, NAMES).encode()


def same_names(rows, rng):
    header, first = rows[0], pick(rng, [True, False])
    if first and len(header) > 1:
        header[int(rng.integers(1, len(header)))] = header[-1]
    rows[int(rng.integers(len(rows)))][0] = rows[-1][0]


def ragged(rows, rng):
    i, j = _spot(rows, rng)
    rows[i][j:j] = [pick(rng, [b"", b"1", b"0"])] if rng.random() < 0.5 else []
    if rng.random() < 0.5:
        del rows[i][min(j, len(rows[i]) - 1)]


def trailing(rows, rng):
    which = pick(rng, [rows, rows[1:], rows[:1], rows[-1:]])
    for row in which:
        row.append(b"")


def decimal_commas(rows, rng):
    share = pick(rng, [0.2, 1.0])
    for row in rows[1:]:
        row[1:] = [c.replace(b".", b",") if rng.random() < share else c for c in row[1:]]


def thousands(rows, rng):
    mark = pick(rng, [b",", b" ", b"'", b"."])
    for row in rows[1:]:
        row[1:] = [re.sub(rb"^(-?\d+)(\d{3})\b", rb"\1" + mark + rb"\2", c) for c in row[1:]]


def quotes(rows, rng):
    share = pick(rng, [0.1, 1.0])
    for row in rows:
        row[:] = [b'"' + c + b'"' if rng.random() < share else c for c in row]


def stray_quote(rows, rng):
    i, j = _spot(rows, rng)
    rows[i][j] = pick(rng, [b'"' + rows[i][j], rows[i][j] + b'"', b'""', b'a"b', b'"a"b'])


def blanks(rows, rng):
    for row in rows:
        row[:] = [b" " + c + b"  " if rng.random() < 0.3 else c for c in row]


def lines(rows, rng):
    i, k = int(rng.integers(len(rows))), int(rng.integers(len(rows)))
    extra = pick(rng, [rows[i], [b""], [b"# comment"], [b"sep=;"], [b""] * len(rows[i])])
    return pick(
        rng,
        [
            rows[1:],
            rows[:1],
            [*rows[:k], list(extra), *rows[k:]],
            rows[:i] + rows[i + 1 :],
            [rows[0], *rows[:0:-1]],
        ],
    )


def other_separator(rows, rng):
    row = rows[int(rng.integers(len(rows)))]
    row[:] = [pick(rng, [b",", b";", b"\t", b" ", b"|"]).join(row)]


CELLS = [strange_cell, strange_cell, strange_column, strange_name, same_names, ragged, trailing,
         decimal_commas, thousands, quotes, stray_quote, blanks, lines,
         other_separator]  # fmt: skip


def new_separator(case: Case, rng: Rng) -> Case:
    """All separators replaced by another: valid, if no cell holds it."""
    sep = pick(rng, [",", "\t", ";"])
    data = case.files[case.main]
    if case.sep is None or sep.encode() in data or data[:1] == b"\x1f":
        return case
    return replace(case, sep=sep, files={case.main: data.replace(case.sep.encode(), sep.encode())})


# --- spoiling beds and models ---------------------------------------------------------------------


def bed_head(data: bytes, rng: Rng) -> bytes:
    return pick(rng, [b"\x6c\x1b\x00", b"\x1b\x6c\x01", b"\x6c\x1b\x02", b""]) + data[3:]


def bed_padding(data: bytes, rng: Rng) -> bytes:
    return data[:-1] + bytes([data[-1] | 0xC0]) if data else data


def more_or_fewer(data: bytes, rng: Rng) -> bytes:
    rows = data.splitlines(keepends=True)
    if rng.random() < 0.5:
        return b"".join(rows[:-1])
    return data + b"".join(b"F%d new%d 0 0 1 -9\n" % (k, k) for k in range(rng.integers(1, 3)))


VALUES = [
    *'nan inf -1 true "x" [] {} 1e400 1979-05-27 10000000000000'.split(), "[1, [2]]", "[1, true]",
    "9" * 30, "[" * 400 + "]" * 400, "{ prior = 1 }", '{ prior = "Nothing" }',
    '{ prior = "BayesR" }', '{ prior = "Normal", mu = { prior = "Normal" } }',
]  # fmt: skip
FORMULAS = [
    "y ~ 1 + x z", "y ~", "~ x", "y ~ __import__('os')", "y ~ exec(x)", "y ~ f(x)(y)", "y ~ x[0]",
    "y ~ " + "*".join("abcdefghijklmnopqrstuvwxyz"), "y ~ (a+b)**x", "y ~ 1e9 + x", "y+y ~ x",
    "y ~ x ~ z", "y ~ " + "(" * 500 + "x" + ")" * 500, "y ~ (1|g)", "y ~ x\\u0000",
]  # fmt: skip


def model_value(data: bytes, rng: Rng) -> bytes:
    spots = list(re.finditer(rb"(?<== )[^\n]+?(?=[\n,}])", data))
    spot = pick(rng, spots) if spots else re.match(b"", data)
    return data[: spot.start()] + pick(rng, VALUES).encode() + data[spot.end() :]


def model_formula(data: bytes, rng: Rng) -> bytes:
    formula = f'formula = "{pick(rng, FORMULAS)}"'.encode()
    return re.sub(rb"formula = .*", lambda m: formula, data, count=int(rng.integers(1, 4)))


def model_lines(data: bytes, rng: Rng) -> bytes:
    rows = data.split(b"\n")
    return b"\n".join(rows[k] for k in rng.integers(0, len(rows), len(rows)))


SPECIAL = {
    "x.bed": [bed_head, bed_padding], "x.fam": [more_or_fewer], "x.bim": [more_or_fewer],
    "mine.toml": [model_value, model_value, model_value, model_formula, model_lines],
}  # fmt: skip


def spoilt(seed: int, kind: str | None = None) -> Case:
    """A valid file spoilt in one to three ways."""
    rng = np.random.default_rng(seed)
    share = np.array([weight for _, weight in SAMPLES.values()])
    kind = kind or str(rng.choice(list(SAMPLES), p=share / share.sum()))
    case = SAMPLES[kind][0](rng)
    for _ in range(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1])):
        file = pick(rng, list(case.files))
        case = _spoil(case, file, rng)
    return case


def _spoil(case: Case, file: str, rng: Rng) -> Case:
    data, tabular = case.files[file], file != "x.bed" and case.kind not in ("model", "result")
    if tabular and rng.random() < 0.03 and case.kind != "bed":
        return replace(new_separator(case, rng), spoilt_by=(*case.spoilt_by, "new_separator"))
    if tabular and rng.random() < 0.55:
        how = pick(rng, CELLS)
        data = _edit_cells(data, case.sep, lambda rows: how(rows, rng))
    else:
        texts = TEXT if file != "x.bed" and case.kind != "result" else []
        how = (
            huge_field
            if rng.random() < 0.01
            else pick(rng, BYTES + texts + SPECIAL.get(file, []) * 2)
        )
        data = how(data, rng)
    return replace(
        case, files={**case.files, file: data}, spoilt_by=(*case.spoilt_by, how.__name__)
    )

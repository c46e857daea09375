"""A judge of what the package makes of a file, which trusts no reader of the package.

An outcome is right if the file is refused in a sentence that names the file, the place and what to
do, or if all that was read agrees with a second reading of the same bytes here: with Python's csv
module, tomllib, or bit by bit.
"""

from __future__ import annotations

import csv
import gzip
import math
import re
import time
import tomllib
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from fuzz_samples import Case, tree

from nnmm_pymc import InputError, load, load_model
from nnmm_pymc.io import read_connections, read_genotypes, read_relationship, read_table
from nnmm_pymc.model_file import write_model

csv.field_size_limit(10**9)
SECONDS = 20.0  # a reader that takes longer hangs
TABLE_MISSING = {"", ".", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"}
CALL_MISSING = {"NA", "NaN", "nan", "", ".", "-9"}
TRUTH = {"TRUE": 1.0, "True": 1.0, "true": 1.0, "FALSE": 0.0, "False": 0.0, "false": 0.0}
ADVICE = re.compile(
    r"\b(give|save|correct|check|make|convert|leave|name|write|put|take|choose|fit again|separate|"
    r"bring|call|must|use|copy|needs|keys here are)\b",
    re.IGNORECASE,
)
PLACE = re.compile(
    r"line \d|every line|first line|header|column|row |individual|marker|key |TOML|matrix|equation|"
    r"bytes|is empty|names? |shape|relationship|cannot be read|model"
)


class Fault(AssertionError):
    """The package was fooled."""


def judge(case: Case, folder: Path) -> str:
    """Read a file: "read" or "refused".

    Raises
    ------
    Fault
        Anything else happened than a clear refusal, or something was lost or changed.
    """
    for name, content in case.files.items():
        (folder / name).write_bytes(content)
    start = time.monotonic()
    try:
        with warnings.catch_warnings(action="error"):
            result = READERS[case.kind](case, folder / case.main)
    except InputError as error:
        message = str(error)
        if not any(name in message for name in case.files):
            raise Fault(f"no file is named: {message}") from None
        if not ADVICE.search(message) or not PLACE.search(message) or len(message) > 25_000:
            raise Fault(f"unclear: {message}") from None
        return "refused"
    except Exception as error:
        raise Fault(f"{type(error).__name__}: {error}") from error
    if time.monotonic() - start > SECONDS:
        raise Fault("it took too long")
    try:
        CHECKS[case.kind](case, result)
    except Fault:
        raise
    except Exception as error:
        raise Fault(f"read what cannot be read: {type(error).__name__}: {error}") from error
    return "read"


READERS = {
    "table": lambda case, path: read_table(path, transposed=case.transposed),
    "genotypes": lambda case, path: read_genotypes(path, transposed=case.transposed),
    "bed": lambda case, path: read_genotypes(path),
    "relationship": lambda case, path: read_relationship(path),
    "edges": lambda case, path: read_connections(path),
    "model": lambda case, path: load_model(path),
    "result": lambda case, path: load(path),
}


def same(ours: object, theirs: object, what: str) -> None:
    """Refuse a difference between two readings."""
    if ours != theirs:
        raise Fault(f"{what}: read {str(ours)[:300]}, but the file has {str(theirs)[:300]}")


# --- text -----------------------------------------------------------------------------------------


def lines_of(content: bytes) -> list[str]:
    """Lines that are not blank."""
    while content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    text = content.decode("utf-8-sig")
    lines = [line.rstrip("\r") for line in text.split("\n")]
    return [line for line in lines if line.strip(" ")]


def rows_of(case: Case) -> tuple[list[str], list[str], list[list[str]]]:
    """Names of the columns, names of the rows, and cells."""
    seps = {case.sep: 0}
    if case.sep is None or case.sep not in lines_of(case.files[case.main])[0]:
        seps |= dict.fromkeys((None, ",", ";", "\t"))
    for more, sep in product((0, 1), seps):
        header, *body = [_fields(line, sep) for line in lines_of(case.files[case.main])]
        widths = {len(row) for row in body}
        if widths == {len(header) + more} and widths != {1}:
            break
    else:
        raise Fault(f"a header of {len(header)} fields and rows of {widths} were accepted")
    if len(header) in widths:
        del header[0]
    elif header[0] in ("ID", "omic"):
        raise Fault("names were shifted by one column")
    return plain(header), plain([row[0] for row in body]), [row[1:] for row in body]


def _fields(line: str, sep: str | None) -> list[str]:
    if sep is None:
        tokens = re.findall(r'"(?:[^"]|"")*"(?=\s|$)|\S+', line.strip(), re.ASCII)
        quoted = [token[0] == '"' == token[-1] and len(token) > 1 for token in tokens]
        return [
            (token[1:-1].replace('""', '"') if q else token).strip()
            for token, q in zip(tokens, quoted, strict=True)
        ]
    line = re.sub(rf'" +(?={sep}|$)', '"', line)  # which the csv module makes part of the field
    row = next(csv.reader([line], delimiter=sep, skipinitialspace=True))
    return [cell.strip() for cell in row]


def plain(names: list[str]) -> list[str]:
    """Names, without the ".0" that all of them have; refuses two alike and none."""
    if all(re.fullmatch(r"-?\d+\.0+", name) for name in names):
        names = [name.split(".")[0] for name in names]
    if len(set(names)) < len(names) or "" in names:
        raise Fault(f"names accepted: {names}")
    return names


def number(cell: str, missing: set[str]) -> float:
    """A cell as a number, NaN if missing, infinite if no number."""
    if cell in missing:
        return math.nan
    try:
        return math.inf if "_" in cell else float(cell)
    except ValueError:
        return math.inf


def equal(a: float, b: float) -> bool:
    """Whether two numbers are the same, or both missing."""
    return a == b or (math.isnan(a) and math.isnan(b))


# --- what was read against what is there ----------------------------------------------------------


def check_table(case: Case, table) -> None:
    columns, rows, cells = rows_of(case)
    frame = table.frame
    if case.transposed:
        columns, rows, cells = rows, columns, [list(c) for c in zip(*cells, strict=True)]
    same(list(frame.index), rows, "individuals")
    same(list(frame.columns), columns, "columns")
    if set(rows) & TABLE_MISSING:
        raise Fault(f"IDs accepted: {rows}")
    for j, name in enumerate(columns):
        texts = [row[j] for row in cells]
        numbers = [number(text, TABLE_MISSING) for text in texts]
        present = [text for text in texts if text not in TABLE_MISSING]
        if present and set(present) <= set(TRUTH):
            numbers = [TRUTH.get(text, math.nan) for text in texts]
        read = frame[name].tolist()
        if frame[name].dtype == np.float64:
            if math.inf in map(abs, numbers) or not all(map(equal, read, numbers)):
                raise Fault(f"column {name}: read {read}, but the file has {texts}")
        else:
            same(
                [None if pd.isna(v) else v for v in read],
                [None if t in TABLE_MISSING else t for t in texts],
                f"column {name}",
            )
            if 2 * sum(map(math.isfinite, numbers)) >= len(present):
                raise Fault(f"column {name} became text: {texts}")


def check_genotypes(case: Case, genotypes) -> None:
    markers, individuals, cells = rows_of(case)
    values = np.array([[number(cell, CALL_MISSING) for cell in row] for row in cells])
    if case.transposed:
        markers, individuals, values = individuals, markers, values.T
    values[values == -9] = np.nan
    check_dosages(genotypes, individuals, markers, values)


def check_dosages(genotypes, individuals, markers, values) -> None:
    """`values` are (individual, marker), NaN where missing."""
    same(list(genotypes.individuals), individuals, "individuals")
    if set(individuals) & TABLE_MISSING:
        raise Fault(f"IDs accepted: {individuals}")
    if ((values < 0) | (values > 2)).any():
        raise Fault("a dosage outside 0..2 was accepted")
    dropped = genotypes.report.dropped
    same([m for m in markers if m not in dropped.index], list(genotypes.markers), "markers kept")
    same(genotypes.report.n_markers_read, len(markers), "markers read")
    absent = 0
    for marker, column in zip(markers, values.T, strict=True):
        calls = column[~np.isnan(column)]
        if marker in dropped.index:
            if len(set(calls.astype(np.float32))) > 1:
                raise Fault(f"marker {marker} varies but was dropped")
            continue
        absent += len(column) - len(calls)
        read = genotypes.dosages[genotypes.markers.get_loc(marker)]
        mean = calls.mean()
        if abs(genotypes.mean[genotypes.markers.get_loc(marker)] - mean) > 1e-6:
            raise Fault(f"marker {marker}: mean")
        missing = -1 if read.dtype == np.int8 else np.float32(mean)
        expected = np.where(np.isnan(column), missing, column.astype(np.float32))
        if not np.allclose(read, expected, rtol=0, atol=1e-6):
            raise Fault(f"marker {marker}: read {read}, but the file has {column}")
    same(genotypes.report.missing_cells, absent, "missing cells")


def check_bed(case: Case, genotypes) -> None:
    fam, bim = (
        [
            [word.strip() for word in re.findall(r"\S+", line, re.ASCII)]
            for line in lines_of(case.files[name])
        ]
        for name in ("x.fam", "x.bim")
    )
    if any(len(row) != 6 for row in fam + bim):
        raise Fault("a line with other than six fields was accepted")
    n, p, raw = len(fam), len(bim), case.files["x.bed"]
    same(raw[:3], b"\x6c\x1b\x01", "first bytes")
    packed = np.frombuffer(raw[3:], np.uint8).reshape(p, -(-n // 4))
    codes = ((packed[:, :, None] >> np.array([0, 2, 4, 6])) & 3).reshape(p, -1)
    if codes[:, n:].any():
        raise Fault("calls of individuals that the .fam lacks")
    if n % 4 and (codes[:, n - 1] == 0).all():
        raise Fault("padding read as an individual")
    ids = [row[1] for row in fam]
    if len(set(ids)) < n:
        ids = ["_".join(row[:2]) for row in fam]
    values = np.array([2, np.nan, 1, 0])[codes[:, :n]].T
    check_dosages(genotypes, plain(ids), plain([row[1] for row in bim]), values)
    for row in bim:
        if row[1] in genotypes.markers:
            info = genotypes.info.loc[row[1]]
            read = [info["chromosome"], str(info["position"]), *info.iloc[-2:]]
            same(read, [row[0], str(int(row[3])), *row[4:]], f"marker {row[1]}")


def check_relationship(case: Case, relationship) -> None:
    columns, rows, cells = rows_of(case)
    same(list(relationship.individuals), rows, "individuals")
    same(sorted(columns), sorted(rows), "columns")
    matrix = np.array([[TRUTH.get(c, number(c, TABLE_MISSING)) for c in row] for row in cells])
    matrix = matrix[:, [columns.index(name) for name in rows]]
    roots = relationship.dosages - relationship.mean[:, None]
    if not np.allclose(roots.T @ roots, matrix, rtol=0, atol=1e-4 * np.abs(matrix).max()):
        raise Fault("the matrix is another")


def check_edges(case: Case, parents) -> None:
    _, *rows = [_fields(line, case.sep) for line in lines_of(case.files[case.main])]
    if any(len(row) != 2 for row in rows):
        _, *rows = [_fields(line, None) for line in lines_of(case.files[case.main])]
    if any(len(row) != 2 or "" in row for row in rows):
        raise Fault("an edge without two ends was accepted")
    read = sorted((child, parent) for child, group in parents.items() for parent in group)
    same(read, sorted(map(tuple, rows)), "edges")


def check_model(case: Case, model) -> None:
    text = case.files[case.main].decode("utf-8")
    content = tomllib.loads(re.sub("\r\n?", "\n", text))
    written = tomllib.loads(write_model(model, case.main))
    if not _within(_tidy(content), _tidy(written)):
        raise Fault(f"read {written}, but the file has {content}")


def _tidy(table: dict) -> dict:
    """Without what is said by leaving it out."""
    table = {key: value for key, value in table.items() if value not in ([], {})}
    latent = table.pop("latent", {})
    table["latent"] = {k: v if isinstance(v, int) else len(v) for k, v in latent.items()}
    table["equation"] = [
        {k: v for k, v in e.items() if (k, v) != ("family", "gaussian") and v != {}}
        for e in table["equation"]
    ]
    return table


def _within(part: object, whole: object) -> bool:
    """Whether all of a file is in what was read, which may have defaults beside it."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and _within(part[key], whole[key]) for key in part)
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) == len(whole) and all(map(_within, part, whole))
    return part == whole or [part] == whole


def check_result(case: Case, result) -> None:
    if not result.identical(tree()):
        raise Fault(f"another result: {result}")


CHECKS = {
    "table": check_table,
    "genotypes": check_genotypes,
    "bed": check_bed,
    "relationship": check_relationship,
    "edges": check_edges,
    "model": check_model,
    "result": check_result,
}

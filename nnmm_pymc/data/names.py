"""Names of individuals, markers and columns: strings, unique, and the same however they came."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from nnmm_pymc.errors import InputError

#: Cells of a table that mean "not observed".
MISSING_TEXT = frozenset({"", ".", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"})
#: Texts that mean an unknown parent, unless the caller says otherwise.
UNKNOWN_PARENT = (*sorted(MISSING_TEXT), "0", "*", "?", "-", "unknown", "Unknown", "UNKNOWN")


def clean_names(
    values: Iterable[object],
    source: str,
    *,
    kind: str = "individual ID",
    place: str = "row",
    positions: Sequence[int] | None = None,
) -> pd.Index:
    """Names as unique, stripped strings; 6, 6.0 and "6" are the same name.

    `place` and `positions` say where a name stands ("line", line numbers) in error messages.
    """
    names = name_texts(values)
    positions = range(1, len(names) + 1) if positions is None else positions
    # A marker may be called NA; an individual called NA is a missing ID.
    blank = MISSING_TEXT if kind == "individual ID" else frozenset({""})
    seen: dict[str, int] = {}
    for name, position in zip(names, positions, strict=True):
        if name in blank:
            written = f", but {name!r}" if name else ""
            raise InputError(f"{source}: {place} {position} has no {kind}{written}: give it one.")
        if name in seen:
            advice = "make it unique" + (
                " and check that the first line is a header" if place == "column" else ""
            )
            raise InputError(
                f"{source}: {kind} {short(name)!r} occurs twice ({place}s {seen[name]} and "
                f"{position}): {advice}."
            )
        seen[name] = position
    return pd.Index(names, dtype=str)


def name_texts(values: Iterable[object], missing: Collection[str] = ()) -> list[str]:
    """Names as texts; whole numbers lose the ".0" that a column of floats gave all of them."""
    names = [name_text(value) for value in values]
    present = [name for name in names if name not in missing]
    if present and all(re.fullmatch(r"-?\d+\.0+", name) for name in present):
        names = [re.sub(r"\.0+$", "", name) for name in names]
    return names


def as_texts(values: object) -> list[str]:
    """Values as texts; one that stands alone is a list of itself."""
    alone = isinstance(values, str) or not isinstance(values, Iterable)
    return [str(value) for value in ([values] if alone else cast(Iterable[object], values))]


def joined(names: Iterable[str]) -> str:
    """One name for a combination, with ":" between; one that stands in a name gets a backslash."""
    parts = list(names)
    if len(parts) > 1:
        parts = [part.replace("\\", "\\\\").replace(":", "\\:") for part in parts]
    return ":".join(parts)


def name_text(value: Any) -> str:
    """A name as text, stripped: 6 and 6.0 are "6", what is missing is ""."""
    if isinstance(value, tuple):
        raise InputError(f"the name {value!r} has several levels: use plain rows and columns.")
    if pd.isna(value):
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def index_by_id(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its IDs in the index: a column "ID" is used if the index is only a count."""
    if isinstance(frame.index, pd.RangeIndex) and frame.index.name is None:
        for column in frame.columns:
            if str(column).strip().lower() == "id":
                return frame.set_index(column)
    return frame


def short(text: object) -> str:
    """A cell or name for a message: the beginning of one that is very long."""
    text = str(text)
    return text if len(text) <= 50 else f"{text[:40]}... ({len(text)} characters)"


def some(names: Iterable[object], count: int = 3) -> str:
    """The first few names, for a message."""
    names = list(names)
    return ", ".join(map(short, names[:count])) + (", ..." if len(names) > count else "")

"""What the options of `nnmm fit` name: columns, files by layer, connections."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from nnmm_pymc.data import Table
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import Equation
from nnmm_pymc.io import read_table

__all__ = [
    "chosen_columns",
    "named_files",
    "numeric_columns",
    "outcomes_and_words",
    "split",
]


def split(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def numeric_columns(phenotypes: Table, others: Collection[str]) -> list[str]:
    """Traits that nobody chose: says which they are, and which of them look like codes."""
    columns = phenotypes.frame.drop(columns=list(others), errors="ignore")
    numeric = columns.select_dtypes(np.float64)
    names = list(numeric.columns)
    if not names:
        raise InputError(f"{phenotypes.source}: no column is numeric; a trait must be.")
    print(
        f"Traits: {', '.join(names)} (every numeric column of {phenotypes.source}; choose others "
        "with --traits)."
    )
    for name in names:
        values = np.unique(numeric[name].dropna())
        if 0 < len(values) <= 3 and np.all(values == np.round(values)):
            seen = ", ".join(f"{value:g}" for value in values)
            print(
                f"Warning: {name} has only the values {seen}, like a code, but is modelled as a "
                "continuous trait; leave it out with --traits if it is none."
            )
    print()
    return names


def chosen_columns(table: Table, columns: list[str]) -> Table:
    """Some columns of a table, all of numbers."""
    frame = pd.DataFrame(table.numeric(columns), table.individuals, columns)
    return read_table(frame, name=table.source)


def outcomes_and_words(table: Table, traits: list[str], equations: Iterable[Equation]) -> Table:
    """A table without what is neither a trait nor a column that an equation names.

    Traits are all numeric columns that no equation names, if none are chosen.
    """
    words = {n for e in equations for t in e.terms for n in (*t.names, *t.group, t.slope)}
    words |= {n for e in equations for n in (e.weights, *(e.bounds or ()))}
    words |= {getattr(table, "individual", None)}
    named = [column for column in table.frame.columns if column in words]
    traits = traits or numeric_columns(table, named)
    table.numeric(traits)
    return replace(table, frame=table.frame[[*traits, *named]])


def named_files(
    option: str, values: list[str] | None, taken: Collection[str] = ()
) -> dict[str, Path]:
    """Values NAME=FILE of an option, by name."""
    files: dict[str, Path] = {}
    for value in values or []:
        name, _, path = value.partition("=")
        if not name or not path:
            raise InputError(f"{option} {value} is not understood; write {option} NAME=FILE.")
        if name in files or name in taken:
            raise InputError(f"{option} {value}: {name!r} has a file already, or must be renamed.")
        files[name] = Path(path)
    return files

"""Reading tables of omics, phenotypes or covariates from text and parquet files and frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nnmm_pymc.data.names import MISSING_TEXT, clean_names, index_by_id, some
from nnmm_pymc.data.numbers import as_numbers
from nnmm_pymc.data.table import Table, mixed_frame
from nnmm_pymc.errors import InputError
from nnmm_pymc.io.fields import Written
from nnmm_pymc.io.plink import plink_ids
from nnmm_pymc.io.text import TextFile, as_path, is_value, unreadable


def read_table(
    source: str | Path | pd.DataFrame | Table,
    *,
    name: str | None = None,
    sep: str | None = None,
    transposed: bool = False,
    id_column: str | None = None,
) -> Table:
    """Read a table of omics, phenotypes or covariates.

    Parameters
    ----------
    source
        Text file (also gzipped) or ``.parquet``; IDs are in the first column whatever its name, or
        are the IIDs if the first two columns are PLINK's FID and IID (FID_IID if two individuals
        share an IID). Or a DataFrame with IDs in the index or in a column "ID", or a Table. Where
        the other columns are named by numbers, the first must be called ID (or nothing), as such a
        line may be data.
    name
        What messages call the source; the file name if not given.
    sep
        Separator of a text file; found from its first lines if not given. A space stands for any
        white space.
    transposed
        Individuals are in columns and variables in rows.
    id_column
        Column that holds the IDs, if another; the first column is then data like any other.

    Returns
    -------
    Table
        Empty cells, NA, NaN, null and a lone dot are missing.

    Raises
    ------
    InputError
        The source cannot be read, or see `Table`; the message says where.

    Examples
    --------
    >>> import pandas as pd
    >>> read_table(pd.DataFrame({"ID": [6, 8], "y": [0.5, None]}), name="trait")
    <Table trait: 2 individuals x 1 columns (y)>
    """
    if isinstance(source, Table):
        return source if name is None else replace(source, source=name)
    if transposed and id_column is not None:
        raise InputError("With transposed=True the IDs are in the header: leave out id_column.")
    lines: Sequence[int] | None = None
    texts: Mapping[str, list[str]] = {}
    if isinstance(source, pd.DataFrame):
        name, frame = name or "DataFrame", index_by_id(source)
    else:
        path = as_path(source)
        name = name or path.name
        if path.suffix.lower() == ".parquet":
            frame = _read_parquet(path, name)
        else:
            text = TextFile(path, name, sep, id_column)
            if transposed:
                frame, texts = _read_transposed(text)
                return Table(frame, name, texts=texts)
            frame, lines, texts = _read_text(text, id_column)
    if id_column is not None and id_column != frame.index.name:
        if id_column not in frame.columns:
            raise InputError(
                f"{name}: there is no column {id_column!r} to take the IDs from; columns are "
                f"{some(frame.columns, 8)}."
            )
        # An index without a name only counts rows (R writes such a column); it is not data.
        frame = (frame.reset_index() if frame.index.name else frame).set_index(id_column)
    if transposed:
        frame, lines = frame.T, None
    return Table(frame, name, lines, texts=texts)


def _read_text(
    text: TextFile, id_column: str | None
) -> tuple[pd.DataFrame, list[int], Mapping[str, list[str]]]:
    """Text file as a frame with IDs in its index, the line of every row, and what was written."""
    _check_names(text)
    ids, lines, rows, values = [], [], [], []
    # Columns that are not only numbers; those with IDs never are, as 007 is not 7.
    words = {j for j, name in enumerate(text.names) if name == id_column}
    words |= {0} if text.is_plink else set()
    for line, row in text.rows():
        numbers = as_numbers(row.body, row.sep, MISSING_TEXT)
        words.update(np.flatnonzero(np.isinf(numbers)).tolist())
        ids.append(row.name)
        lines.append(line)
        rows.append(row)
        values.append(numbers)
    index, names = pd.Index(ids, name=text.id_name, dtype=str), text.names
    written = Written(names, rows)
    cells: dict[int, Any] = dict(written.columns(sorted(words)))
    _check_header(text, cells)
    if text.is_plink:
        index = pd.Index(plink_ids(pd.Series(ids), pd.Series(cells[0])), name="IID", dtype=str)
        # A family is a factor, even if most of them are called by a number.
        cells[0], names = pd.Categorical(ids), ["FID", *names[1:]]
    numbers = np.array(values)[:, [j for j in range(len(names)) if j not in cells]]
    return mixed_frame(numbers, cells, index, names), lines, written


def _read_transposed(text: TextFile) -> tuple[pd.DataFrame, Mapping[str, list[str]]]:
    """Text file with a variable in each line as a frame with individuals in rows."""
    _check_names(text)
    individuals = clean_names(text.names, text.source, place="column", positions=text.positions)
    names, lines, rows, columns = [], [], [], []
    for line, row in text.rows():
        numbers = as_numbers(row.body, row.sep, MISSING_TEXT)
        columns.append(row.texts if np.isinf(numbers).any() else numbers)
        names.append(row.name)
        lines.append(line)
        rows.append(row)
    variables = clean_names(names, text.source, kind="column name", place="line", positions=lines)
    written = Written(list(variables), rows, transposed=True)
    if all(isinstance(column, np.ndarray) for column in columns):
        return pd.DataFrame(np.array(columns).T, individuals, variables), written
    return pd.DataFrame(dict(zip(variables, columns, strict=True)), individuals), written


def _check_names(text: TextFile) -> None:
    named = [text.id_name or "(first column)", *text.names]
    clean_names(named, text.source, kind="column name", place="column",
                positions=[1, *text.positions])  # fmt: skip


def _check_header(text: TextFile, words: Mapping[int, list[str]]) -> None:
    """Refuse a header all of whose names are found, or would be numbers, in their own columns."""
    own = [
        name in MISSING_TEXT or (name in words[j] if j in words else is_value(name))
        for j, name in enumerate(text.names)
    ]
    if words and all(own) and not text.names_ids:
        raise InputError(
            f"{text.source}: the first line looks like data ({some(text.names)}): put a header "
            "above it."
        )


def _read_parquet(path: Path, source: str) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except ImportError:
        raise InputError(f"{source}: reading .parquet files needs pyarrow: install it.") from None
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    is_count = isinstance(frame.index, pd.RangeIndex)
    return frame.set_index(frame.columns[0]) if is_count and frame.shape[1] else frame

"""Reading tables with several records of an individual."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from nnmm_pymc.data.records import RecordTable
from nnmm_pymc.errors import InputError
from nnmm_pymc.io.text import TextFile, as_path

__all__ = ["read_records"]


def read_records(
    source: str | Path | pd.DataFrame | RecordTable, individual: str, *, name: str | None = None
) -> RecordTable:
    """Read a table whose rows are records; the column `individual` says of whom each is.

    Parameters
    ----------
    source
        Text file (also gzipped) with a header, or DataFrame, whose index may be the individual's.
    individual
        Name of the column.
    name
        What messages call a DataFrame.

    Raises
    ------
    InputError
        There is no such column, or the source cannot be read, or see `RecordTable`.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"cow": ["a", "a", "b"], "milk": [30.0, 32.0, 28.0]})
    >>> read_records(frame, "cow", name="milk")
    <RecordTable milk: 3 records of 2 individuals x 2 columns (cow, milk)>
    """
    if isinstance(source, RecordTable):
        return source
    if isinstance(source, pd.DataFrame):
        frame = source.reset_index() if source.index.name == individual else source
        return RecordTable(frame, name or "DataFrame", individual=individual)
    path = as_path(source)
    if path.suffix.lower() == ".parquet":
        raise InputError(f"{path.name}: give repeated records as a text file or a DataFrame.")
    text = TextFile(path, path.name, None)
    rows, lines = [], []
    for number, row in text.rows():
        rows.append([row.name, *(cell.decode() for cell in row.cells)])
        lines.append(number)
    columns = [text.id_name or "individual", *text.names]
    return RecordTable(pd.DataFrame(rows, columns=columns), path.name, lines, individual=individual)

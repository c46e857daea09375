"""Reading tables of omics, phenotypes or covariates from text and parquet files and frames."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from nnmm_pymc.data.names import MISSING_TEXT, clean_names, index_by_id
from nnmm_pymc.data.table import Table
from nnmm_pymc.errors import InputError
from nnmm_pymc.io.plink import plink_ids
from nnmm_pymc.io.text import TextFile, as_path, unreadable


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
        share an IID). Or a DataFrame with IDs in the index or in a column "ID", or a Table.
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
    lines: Sequence[int] | None = None
    if isinstance(source, pd.DataFrame):
        name, frame = name or "DataFrame", index_by_id(source)
    else:
        path = as_path(source)
        name = name or path.name
        if path.suffix.lower() == ".parquet":
            frame = _read_parquet(path, name)
        else:
            frame, lines = _read_frame(path, name, sep)
    if id_column is not None and id_column != frame.index.name:
        if id_column not in frame.columns:
            raise InputError(f"{name}: there is no column {id_column!r} to take the IDs from.")
        # An index without a name only counts rows (R writes such a column); it is not data.
        frame = (frame.reset_index() if frame.index.name else frame).set_index(id_column)
    if transposed:
        frame, lines = frame.T, None
    return Table(frame, name, lines)


class _Stream(io.RawIOBase):
    """The rows of a text file as a file that pandas can read; notes their line numbers.

    A copy of the whole text would take several times the memory of the numbers in it.
    """

    def __init__(self, text: TextFile) -> None:
        self._rows, self._rest = iter(text), b""
        self.lines: list[int] = []

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        while not self._rest:
            number, line = next(self._rows, (0, None))
            if line is None:
                return 0
            self.lines.append(number)
            self._rest = line + b"\n"
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _read_frame(path: Path, source: str, sep: str | None) -> tuple[pd.DataFrame, list[int]]:
    """Text file as a frame with IDs in its index, and the line of every row."""
    text = TextFile(path, source, sep)
    named = [text.id_name or "(first column)", *text.names]
    clean_names(named, source, kind="column name", place="column",
                positions=[1, *text.positions])  # fmt: skip
    stream = _Stream(text)
    unclosed = InputError(f"{source}: a quotation mark is not closed, so that lines run together.")
    try:
        frame = _parsed(text, stream)
    except pd.errors.ParserError:
        raise unclosed from None
    if len(frame) != len(stream.lines):
        raise unclosed
    frame.columns = text.names
    frame.index.name = text.id_name
    if text.is_plink:
        ids = plink_ids(pd.Series(frame.index), frame["IID"].reset_index(drop=True))
        # A family is a factor, even if most of them are called by a number.
        family = pd.Series(frame.index, name="FID", dtype="category")
        frame = pd.concat([family, frame.drop(columns="IID").reset_index(drop=True)], axis=1)
        frame.index = pd.Index(ids, name="IID")
    return frame, stream.lines


def _parsed(text: TextFile, stream: _Stream) -> pd.DataFrame:
    return pd.read_csv(
        io.BufferedReader(stream),  # type: ignore[type-var]
        sep=text.splitter.decode() if text.splitter else r"\s+",
        header=None,
        names=range(text.fields),
        index_col=0,
        dtype={0: str, 1: str} if text.is_plink else {0: str},
        keep_default_na=False,
        na_values=sorted(MISSING_TEXT),
        skipinitialspace=True,
        low_memory=False,
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

"""Tables of omics, phenotypes or covariates: columns of numbers or of text, rows known by ID."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nnmm_pymc.data.names import MISSING_TEXT, clean_names, index_by_id, some
from nnmm_pymc.errors import InputError


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Omics or phenotypes of named individuals; columns of numbers, or of text (factors).

    Attributes
    ----------
    frame : pandas.DataFrame
        IDs in the index, or in a column "ID" if the index is only a count; not changed. What is
        kept has string IDs, float columns with NaN for missing cells, and text columns as they are.
    source : str
        File name or "DataFrame"; used in messages.
    lines : sequence of int, optional
        Line of every row in the file; used in messages.

    Raises
    ------
    InputError
        IDs or columns are blank or occur twice, a cell is infinite, or a column is mostly numbers
        but holds some text.

    Examples
    --------
    >>> import pandas as pd
    >>> table = Table(pd.DataFrame({"ID": [6, 8], "y": [1.5, None], "sex": ["m", "f"]}), "y.csv")
    >>> table.individuals.tolist()
    ['6', '8']
    >>> table.numeric(["y"])
    array([[1.5],
           [nan]])
    """

    frame: pd.DataFrame
    source: str = "DataFrame"
    lines: Sequence[int] | None = None

    def __post_init__(self) -> None:
        frame = index_by_id(self.frame)
        if frame.size == 0:
            n, k = frame.shape
            raise InputError(f"{self.source}: there are no data ({n} individuals, {k} columns).")
        place = "row" if self.lines is None else "line"
        index = clean_names(frame.index, self.source, place=place, positions=self.lines)
        names = clean_names(frame.columns, self.source, kind="column name", place="column")
        object.__setattr__(self, "frame", pd.DataFrame(index=index, columns=names))  # for messages
        columns = {
            name: self._settled(frame.iloc[:, j], name).set_axis(index)
            for j, name in enumerate(names)
        }
        settled = pd.DataFrame(columns, index=index)
        settled.columns = names
        object.__setattr__(self, "frame", settled)

    def _settled(self, column: pd.Series, name: str) -> pd.Series:
        """Column as float if its cells are numbers, as text (or what it was) if they are not."""
        dtype = column.dtype
        if pd.api.types.is_any_real_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            for row in np.flatnonzero(np.isinf(values))[:1]:
                raise InputError(self._at(row, name, values[row]) + " is not a finite number.")
            return pd.Series(values)
        if not pd.api.types.is_string_dtype(dtype):  # a category or date
            return column
        if pd.api.types.infer_dtype(column, skipna=True) == "boolean":
            return column.map({True: 1.0, False: 0.0}).astype(np.float64)
        text = column.astype(object).where(column.notna(), "").astype(str).str.strip()
        present = ~text.isin(MISSING_TEXT).to_numpy()
        numbers = pd.to_numeric(text.where(present), errors="coerce").to_numpy(np.float64)
        is_number = np.isfinite(numbers)
        wrong = np.flatnonzero(present & ~is_number)
        if len(wrong) == 0:
            return pd.Series(numbers)
        if 2 * is_number.sum() >= present.sum():
            raise InputError(
                f"{self._at(wrong[0], name, text.iloc[wrong[0]])} is not a finite number, but most "
                "of the column is: correct the cell, or leave it empty if it is missing."
            )
        return pd.Series(text.where(present, np.nan), dtype=str)

    def _at(self, row: int, column: str, cell: object) -> str:
        line = "" if self.lines is None else f" (line {self.lines[row]})"
        individual = self.frame.index[row]
        return f"{self.source}: {str(cell)!r} in column {column!r}, individual {individual!r}{line}"

    @property
    def n(self) -> int:
        """Number of individuals."""
        return len(self.frame)

    @property
    def individuals(self) -> pd.Index:
        """IDs, in the order of the rows."""
        return self.frame.index

    def numeric(self, columns: Sequence[str]) -> np.ndarray:
        """Columns as numbers, NaN where missing; (individual, column) float64.

        Raises
        ------
        InputError
            A column does not exist, or holds text.
        """
        for name in columns:
            if name not in self.frame.columns:
                raise InputError(
                    f"{self.source} has no column {name!r}; it has {some(self.frame.columns, 8)}."
                )
            column = self.frame[name]
            if column.dtype != np.float64:
                row = int(np.argmax(column.notna()))
                raise InputError(
                    f"{self._at(row, name, column.iloc[row])} is not a number: give numbers, or "
                    "use the column only as a factor."
                )
        return self.frame[list(columns)].to_numpy(np.float64)

    def __repr__(self) -> str:
        return (
            f"<Table {self.source}: {self.n} individuals x {self.frame.shape[1]} columns "
            f"({some(self.frame.columns)})>"
        )

"""Tables of omics, phenotypes or covariates: columns of numbers or of text, rows known by ID."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pandas as pd

from nnmm_pymc.data.names import MISSING_TEXT, clean_names, index_by_id, name_text, short, some
from nnmm_pymc.data.numbers import LOCAL_NUMBER, TRUTH, as_number, is_real
from nnmm_pymc.errors import InputError

# What people write for nothing.
NO_VALUE = re.compile(r"[-\u2013\u2014?*.#]+")


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
    texts : mapping of str to sequence of str, optional
        Cells of columns of numbers as they were written, as 01 and 1 may be two herds.

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
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        frame = index_by_id(self.frame)
        if frame.size == 0:
            n, k = frame.shape
            raise InputError(f"{self.source}: there are no data ({n} individuals, {k} columns).")
        place = "row" if self.lines is None else "line"
        index = clean_names(frame.index, self.source, place=place, positions=self.lines)
        names = clean_names(frame.columns, self.source, kind="column name", place="column")
        object.__setattr__(self, "frame", pd.DataFrame(index=index))  # for messages
        real = np.array([is_real(dtype) for dtype in frame.dtypes])
        numbers = frame.loc[:, real].to_numpy(dtype=np.float64, na_value=np.nan)
        for row, j in np.argwhere(np.isinf(numbers))[:1].tolist():
            raise self._not_finite(row, names[real][j], numbers[row, j])
        text = np.flatnonzero(~real).tolist()
        others = {j: self._settled(frame.iloc[:, j], names[j]) for j in text}
        largest = np.fmax(np.fmax.reduce(numbers), -np.fmin.reduce(numbers))
        inexact = np.flatnonzero(real)[largest >= 2**53].tolist()
        coded = [j for j in text if others[j].dtype == np.float64] + inexact
        new = {names[j]: frame.iloc[:, j].map(name_text).tolist() for j in coded
               if names[j] not in self.texts}  # fmt: skip
        given = cast(dict[str, Sequence[str]], self.texts)
        object.__setattr__(self, "texts", ChainMap(given, new) if new else given)
        object.__setattr__(self, "frame", mixed_frame(numbers, others, index, names))

    def _settled(self, column: pd.Series, name: str) -> pd.Series:
        """Column as float if its cells are numbers, as text (or what it was) if they are not."""
        column = column.reset_index(drop=True)
        if not pd.api.types.is_string_dtype(column.dtype):  # a category or date
            return column
        if pd.api.types.infer_dtype(column, skipna=True) == "boolean":
            return column.map({True: 1.0, False: 0.0}).astype(np.float64)
        text = column.astype(object).where(column.notna(), "").astype(str).str.strip()
        present = ~text.isin(MISSING_TEXT).to_numpy()
        if present.any() and text[present].isin(TRUTH).all():
            return text.map(TRUTH)
        numbers = np.array([as_number(cell, MISSING_TEXT) for cell in text])
        wrong = np.flatnonzero(np.isinf(numbers)).tolist()
        if len(wrong) == 0:
            return pd.Series(numbers)
        # A dash or the like beside numbers stands for a missing one, however many there are.
        marks = len(wrong) < present.sum() and re.fullmatch(NO_VALUE, "".join(text[wrong]))
        if marks or 2 * len(wrong) <= present.sum():
            raise self._not_finite(wrong[0], name, text[wrong[0]])
        for row in wrong:
            if LOCAL_NUMBER.fullmatch(text[row]):
                raise self._not_finite(row, name, text[row])
        return pd.Series(text.where(present, np.nan), dtype=str)

    def _not_finite(self, row: int, column: str, cell: object) -> InputError:
        return InputError(
            f"{self._at(row, column, cell)} is not a finite number: correct the cell (with a "
            "decimal point, and nothing between thousands), or leave it empty if it is missing."
        )

    def _at(self, row: int, column: str, cell: object) -> str:
        line = "" if self.lines is None else f" (line {self.lines[row]})"
        individual = self.frame.index[row]
        return (
            f"{self.source}: {short(cell)!r} in column {short(column)!r}, individual "
            f"{short(individual)!r}{line}"
        )

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
                ordered = getattr(column.dtype, "ordered", False)
                numbers = "numbers (column.cat.codes)" if ordered else "numbers"
                raise InputError(
                    f"{self._at(row, name, column.iloc[row])} is not a number: give {numbers}, or "
                    "use the column only as a factor."
                )
        return self.frame[list(columns)].to_numpy(np.float64)

    def levels(self, column: str) -> pd.Series:
        """Names of the levels in a column as they were written, None where missing.

        Truth values are "1" and "0", however written, and 6.0 is "6" as everywhere.
        """
        cells = self.frame[column]
        if cells.dtype != np.float64:
            names = [name_text(cell) for cell in cells]
        else:
            texts = self.texts.get(column, cells)
            names = [name_text(TRUTH.get(text, text)) for text in texts]
            names = [re.sub(r"^(-?\d+)\.0$", r"\1", name) for name in names]
        return pd.Series(names, cells.index, dtype=object).where(cells.notna(), None)

    def __repr__(self) -> str:
        return (
            f"<Table {self.source}: {self.n} individuals x {self.frame.shape[1]} columns "
            f"({some(self.frame.columns)})>"
        )


def mixed_frame(
    numbers: np.ndarray, others: Mapping[int, Any], index: pd.Index, names: Any
) -> pd.DataFrame:
    """A frame of numbers, with `others` as the columns at these positions; fast if it is wide."""
    if not others:
        return pd.DataFrame(numbers, index, names)
    places = [*(j for j in range(len(names)) if j not in others), *others]
    frame = pd.concat([pd.DataFrame(numbers), pd.DataFrame(dict(others))], axis=1).iloc[
        :, np.argsort(places)
    ]
    return frame.set_axis(index).set_axis(names, axis=1)

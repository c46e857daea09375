"""Tables with several records of an individual: rows are records, a column says of whom."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from nnmm_pymc.data.names import MISSING_TEXT, name_texts, some
from nnmm_pymc.data.table import Table
from nnmm_pymc.errors import InputError

__all__ = ["RecordTable"]


@dataclass(frozen=True, eq=False, repr=False)
class RecordTable(Table):
    """Records of named individuals, any number of each.

    Attributes
    ----------
    frame : pandas.DataFrame
        Rows are records, numbered from 1 as texts.
    individual : str
        Column with the individual of each record.

    Raises
    ------
    InputError
        There is no such column, a record has no individual, or see `Table`.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"cow": ["a", "a", "b"], "milk": [30.0, 32.0, 28.0]})
    >>> table = RecordTable(frame, "milk.csv", individual="cow")
    >>> table
    <RecordTable milk.csv: 3 records of 2 individuals x 2 columns (cow, milk)>
    >>> table.owners.tolist()
    ['a', 'a', 'b']
    """

    individual: str = ""

    def __post_init__(self) -> None:
        if self.individual not in self.frame.columns:
            raise InputError(
                f"{self.source}: there is no column {self.individual!r} that says whose a record "
                f"is; it has {some(self.frame.columns, 8)}."
            )
        owners = name_texts(self.frame[self.individual])
        for row, name in enumerate(owners):
            if name in MISSING_TEXT:
                at = f"line {self.lines[row]}" if self.lines is not None else f"record {row + 1}"
                raise InputError(
                    f"{self.source}: {at} has no individual in {self.individual!r}: give it one."
                )
        # Names that are numbers stay names.
        frame = self.frame.assign(**{self.individual: pd.Categorical(owners)})
        frame.index = pd.Index([str(k) for k in range(1, len(frame) + 1)])
        object.__setattr__(self, "frame", frame)
        super().__post_init__()

    @property
    def owners(self) -> pd.Index:
        """Individual of each record."""
        return pd.Index(self.frame[self.individual].astype(str), dtype=str)

    @property
    def individuals(self) -> pd.Index:
        """Individuals with a record, in the order of their first."""
        return self.owners.unique()

    @property
    def n(self) -> int:
        """Number of individuals."""
        return len(self.individuals)

    def __repr__(self) -> str:
        return (
            f"<RecordTable {self.source}: {len(self.frame)} records of {self.n} individuals x "
            f"{self.frame.shape[1]} columns ({some(self.frame.columns)})>"
        )

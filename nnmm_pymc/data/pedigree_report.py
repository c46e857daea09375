"""What was done to a pedigree when it was read, in words."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from nnmm_pymc.data.names import some

__all__ = ["PedigreeReport"]


@dataclass(frozen=True, eq=False)
class PedigreeReport:
    """What was read, added and not used. ``print(pedigree.report)`` says it in words.

    Attributes
    ----------
    n_rows : int
        Individuals of the source.
    added : pandas.Index of str
        Parents without a row of their own, added as founders.
    unused : pandas.Index of str
        Columns of the source that are neither the individual nor a parent.
    """

    n_rows: int
    added: pd.Index
    unused: pd.Index

    def __str__(self) -> str:
        lines = [f"{self.n_rows} rows, {self.n_rows + len(self.added)} individuals."]
        for what, names in (
            ("Added as founders, parents without a row", self.added),
            ("Columns not used", self.unused),
        ):
            if len(names):
                lines.append(f"{what}: {len(names)} ({some(names)}).")
        return "\n".join(lines)

"""Matching individuals across layers by ID: who has data where, and who cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from nnmm_pymc.data.genotypes import Genotypes
from nnmm_pymc.data.names import some
from nnmm_pymc.data.table import Table
from nnmm_pymc.errors import InputError


@dataclass(frozen=True, eq=False, repr=False)
class Alignment:
    """Which individual has data in which layer. ``print(alignment)`` says it in words.

    Attributes
    ----------
    presence : pandas.DataFrame of bool
        Individual by layer; individuals in order of first appearance, genotype layers first.
    dropped : pandas.Series
        Reason by ID of every individual that cannot be used.
    without_genotypes : pandas.Index
        Individuals that lack genotypes and are used all the same, in equations without markers.
    """

    presence: pd.DataFrame
    dropped: pd.Series
    without_genotypes: pd.Index = field(default_factory=lambda: pd.Index([], dtype=str))

    @property
    def individuals(self) -> pd.Index:
        """IDs that every genotype layer has, in the order of the first."""
        ids = self.presence.index
        return ids[~ids.isin(self.dropped.index) & ~ids.isin(self.without_genotypes)]

    def using(self, individuals: pd.Index) -> Alignment:
        """The same where these individuals are used, whether they have genotypes or not."""
        used = self.dropped.index[self.dropped.index.isin(individuals)]
        return replace(self, dropped=self.dropped.drop(used), without_genotypes=used)

    def summary(self) -> str:
        """How many individuals each layer has, how many are shared, kept and dropped."""
        held = self.presence.sum(axis=1)
        lines = [
            f"{len(self.presence)} individuals: {len(self.presence) - len(self.dropped)} kept, "
            f"{len(self.dropped)} dropped; "
            f"in every layer: {int((held == self.presence.shape[1]).sum())}."
        ]
        for layer, present in self.presence.items():
            alone = present.index[present & (held == 1)]
            only = f", {len(alone)} only here ({some(alone)})" if len(alone) else ""
            lines.append(f"{layer}: {int(present.sum())} individuals{only}.")
        if len(self.without_genotypes):
            lines.append(
                f"Kept without genotypes, for the equations that need none: "
                f"{len(self.without_genotypes)} ({some(self.without_genotypes)})."
            )
        for reason, group in self.dropped.groupby(self.dropped, sort=False):
            lines.append(f"Dropped, {reason}: {len(group)} ({some(group.index)}).")
        return "\n".join(lines)

    __str__ = __repr__ = summary


def align(tables: Mapping[str, Genotypes | Table]) -> Alignment:
    """Match individuals across layers by ID.

    An individual is kept if every genotype layer has it (if there is no genotype layer, always);
    what it lacks in other layers is missing data. A genotype layer has an individual of which it
    has any call.

    Parameters
    ----------
    tables
        Genotypes and tables by name of the layer.

    Raises
    ------
    InputError
        There is no layer, or the IDs of two layers that must match do not.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from nnmm_pymc.io import read_genotypes
    >>> geno = read_genotypes(pd.DataFrame({"snp1": [0, 1, 2]}, index=["a", "b", "c"]))
    >>> pheno = Table(pd.DataFrame({"y": [1.5, 2.5]}, index=["c", "d"]))
    >>> print(align({"geno": geno, "pheno": pheno}))
    4 individuals: 3 kept, 1 dropped; in every layer: 1.
    geno: 3 individuals, 2 only here (a, b).
    pheno: 2 individuals, 1 only here (d).
    Dropped, no genotypes in 'geno': 1 (d).
    """
    if not tables:
        raise InputError("there is no layer of data: give genotypes, omics or phenotypes.")
    geno = [name for name, table in tables.items() if isinstance(table, Genotypes)]
    order = geno + [name for name in tables if name not in geno]
    labels = {name: _label(name, table) for name, table in tables.items()}
    for first in geno:
        for other in order:
            _check_common(labels[first], tables[first], labels[other], tables[other])
    union = dict.fromkeys(i for name in order for i in tables[name].individuals)
    ids = pd.Index(list(union), dtype=str)
    presence = pd.DataFrame({name: _has(tables[name], ids) for name in order}, index=ids)
    genotyped = presence[geno].all(axis=1)
    if not genotyped.any():
        raise InputError(f"no individual is in all of {some((labels[g] for g in geno), 8)}.")
    absent = [
        "no genotypes in " + " and ".join(labels[g] for g in geno if not presence.at[i, g])
        for i in ids[~genotyped]
    ]
    dropped = pd.Series(absent, index=ids[~genotyped], name="reason", dtype=str)
    return Alignment(presence[list(tables)], dropped)


def _has(table: Genotypes | Table, ids: pd.Index) -> np.ndarray:
    return table.has_calls(ids) if isinstance(table, Genotypes) else ids.isin(table.individuals)


def _label(name: str, table: Genotypes | Table) -> str:
    in_memory = table.source in ("DataFrame", "array", "genotypes")
    return repr(name if in_memory else table.source)


def _check_common(
    label: str, genotypes: Genotypes | Table, other_label: str, other: Genotypes | Table
) -> None:
    """Refuse a layer none of whose individuals is genotyped, and numbering that is off by one."""
    ids, others = genotypes.individuals, other.individuals
    if not others.isin(ids).any():
        raise InputError(
            f"no individual of {other_label} (first IDs: {some(others)}) occurs in {label} "
            f"(first IDs: {some(ids)}): check the ID columns."
        )
    if not isinstance(other, Table):
        return
    if genotypes.source == "array" and _counted(others, 0):
        raise InputError(
            f"individuals of {label}, an array, are numbered from 1, those of {other_label} from "
            "0: give the genotypes as a DataFrame with IDs in its index."
        )
    for start in (0, 1):
        if len(ids) == len(others) and _counted(ids, start) and _counted(others, 1 - start):
            raise InputError(
                f"individuals of {label} are numbered from {start}, those of {other_label} from "
                f"{1 - start}, so that all but one would be matched wrongly: give both their IDs."
            )


def _counted(individuals: pd.Index, start: int) -> bool:
    """Whether the IDs are a count from `start` in any order."""
    return set(individuals) == {str(i) for i in range(start, start + len(individuals))}

"""Nodes that nobody has measured: a layer of hidden variables between genotypes and traits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nnmm_pymc.data.names import clean_names
from nnmm_pymc.data.table import Table
from nnmm_pymc.errors import InputError

__all__ = ["LatentNodes", "LatentTable", "latent"]

MOST_NODES = 100_000


@dataclass(frozen=True)
class LatentNodes:
    """Names of latent nodes; from `latent`."""

    names: tuple[str, ...]

    def table(self, individuals: pd.Index) -> LatentTable:
        """A table of these nodes without any value."""
        empty = np.full((len(individuals), len(self.names)), np.nan)
        return LatentTable(pd.DataFrame(empty, individuals, list(self.names)), "latent nodes")


@dataclass(frozen=True, eq=False, repr=False)
class LatentTable(Table):
    """Columns without values that are latent on purpose."""


def latent(nodes: int | Sequence[str]) -> LatentNodes:
    """A layer of latent nodes, to stand between genotypes and traits.

    Their scale is fixed: residual variance 1/2 and, by the default priors, genetic variance about
    1/2. What is identified is what the network makes of them (genetic values and predictions of the
    traits); the nodes themselves may be permuted and, with an odd activation, change sign. Chains
    are aligned after the fit.

    Parameters
    ----------
    nodes : int or sequence of str
        Their number or names.

    Examples
    --------
    >>> latent(2)
    LatentNodes(names=('latent_1', 'latent_2'))
    """
    if isinstance(nodes, bool) or (isinstance(nodes, int) and not 1 <= nodes <= MOST_NODES):
        raise InputError(
            f"latent({nodes!r}): give the number of nodes, at least 1 and at most {MOST_NODES}, "
            "or names."
        )
    if isinstance(nodes, int):
        return LatentNodes(tuple(f"latent_{k + 1}" for k in range(nodes)))
    if isinstance(nodes, str):
        nodes = [nodes]
    if not isinstance(nodes, Iterable):
        raise InputError(f"latent({nodes!r}): give a whole number of nodes, or their names.")
    names = clean_names(nodes, "latent nodes", kind="name")
    if not names.is_unique:
        raise InputError(f"latent({list(nodes)!r}): names must differ.")
    return LatentNodes(tuple(names))

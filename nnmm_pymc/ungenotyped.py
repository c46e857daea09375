"""Individuals without genotypes: which of their data the model can use.

An equation with markers says nothing of an individual whose genotypes are unknown, so its row is
closed there: what was observed is given, and not modelled. Equations below use given values as they
are, and an individual counts in them as far as all that they depend on is known or modelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from nnmm_pymc.data import Genotypes
from nnmm_pymc.edges import Node
from nnmm_pymc.grouping import is_random
from nnmm_pymc.right_side import matching_nodes

__all__ = ["close_rows"]


def close_rows(nodes: list[Node], layers: Mapping[str, Any], individuals: pd.Index) -> None:
    """Turn observed cells of closed rows into given ones, in place.

    Parameters
    ----------
    nodes : list of Node
        Parents before children.
    layers : mapping
    individuals : pandas.Index
    """
    has = {
        name: layer.has_calls(individuals)
        for name, layer in layers.items()
        if isinstance(layer, Genotypes)
    }
    if all(present.all() for present in has.values()):
        return
    known: dict[str, np.ndarray] = {}
    for node in nodes:
        rows = np.ones(len(individuals), bool)
        for name in [n for t in node.equation.terms if not is_random(t, layers) for n in t.names]:
            rows &= has.get(name, True)
            for parent in matching_nodes(name, nodes):
                whole = name == parent.layer
                columns = slice(None) if whole else [parent.columns.index(name)]
                rows &= known[parent.name][:, columns].all(axis=1)
        _close(node, ~rows)
        if node.records is None:
            known[node.name] = rows[:, None] | ~np.isnan(node.observed) | ~np.isnan(node.given)


def _close(node: Node, closed: np.ndarray) -> None:
    closed = closed if node.records is None else closed[node.records.owner]
    if not node.terminal:
        node.given = np.where(closed[:, None], node.observed, np.nan)
    node.observed = np.where(closed[:, None], np.nan, node.observed)
    if node.bounds is not None:
        low, high = (np.where(closed[:, None], np.nan, bound) for bound in node.bounds)
        node.bounds = low, high

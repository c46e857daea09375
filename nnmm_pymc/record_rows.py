"""Nodes whose rows are records: several of an individual, and known weights of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from nnmm_pymc.data.records import RecordTable
from nnmm_pymc.edges import Node, Records
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import Equation
from nnmm_pymc.grouping import column_of, table_of

__all__ = [
    "check_records",
    "keep_rows",
    "known_weights",
    "of_owners",
    "owner_weights",
    "record_node",
]


def record_node(
    equation: Equation,
    layer: str,
    table: RecordTable,
    columns: tuple[str, ...],
    individuals: pd.Index,
    dim: str,
) -> Node:
    """The node of an equation whose left side is of a table of records."""
    owner = individuals.get_indexer(table.owners)
    place = np.flatnonzero(owner >= 0)
    observed = table.numeric(columns)[place]
    records = Records(table.individual, dim, table.frame.index[place], place, owner[place])
    return Node("+".join(equation.left), layer, columns, "", equation, observed, records=records)


def of_owners(node: Node, rows: np.ndarray, n: int) -> np.ndarray:
    """Which of n individuals have such a record."""
    assert node.records is not None
    return np.bincount(node.records.owner[rows], minlength=n) > 0


def keep_rows(node: Node, keep: np.ndarray) -> None:
    """Leave out what is of other individuals."""
    records = node.records
    own = keep if records is None else keep[records.owner]
    node.observed, node.given = node.observed[own], node.given[own]
    if node.bounds is not None:
        node.bounds = (node.bounds[0][own], node.bounds[1][own])
    if records is None:
        return
    position = np.cumsum(keep) - 1
    node.records = replace(
        records,
        names=records.names[own],
        place=records.place[own],
        owner=position[records.owner[own]],
    )


def check_records(node: Node) -> None:
    """Refuse repeated records of what other equations depend on."""
    if node.records is not None and not node.terminal:
        raise InputError(
            f"Equation {node.equation.formula!r}: layer {node.layer!r} has repeated records, so no "
            "other equation can depend on it; give it a row for each individual (means, say)."
        )


def known_weights(
    node: Node, layers: Mapping[str, Any], individuals: pd.Index
) -> np.ndarray | None:
    """Weights of the rows, 1 where nothing of a row is in the model.

    Raises
    ------
    InputError
        A weight that is needed is missing, or not positive.
    """
    name = node.equation.weights
    if name is None:
        return None
    layers[table_of(name, layers, node.equation)].numeric([name])
    weights = column_of(name, node, layers, individuals).to_numpy(float)
    used = (~np.isnan(node.observed) | node.latent).any(axis=1)
    wrong = used & ~(np.isfinite(weights) & (weights > 0))
    if wrong.any():
        first = node.row_names(individuals)[wrong][0]
        raise InputError(
            f"Equation {node.equation.formula!r}: the weight {name!r} is missing or not positive "
            f"for {wrong.sum()} {node.row_word}, the first {first!r}; correct it."
        )
    return np.where(used, weights, 1.0)


def owner_weights(node: Node, n: int) -> np.ndarray | None:
    """Sum of the weights of each individual's records, (n,); None where all are the same.

    Raises
    ------
    InputError
        They differ between the columns of the node.
    """
    if node.records is None and node.weights is None:
        return None
    owner = np.arange(n) if node.records is None else node.records.owner
    rows = np.ones(len(owner)) if node.weights is None else node.weights
    used = ~np.isnan(node.observed) | node.latent
    sums = np.stack(
        [np.bincount(owner[u], rows[u], minlength=n) for u in used.T],
        axis=1,
    )
    total = sums.max(axis=1)
    if not np.all((sums == 0) | np.isclose(sums, total[:, None])):
        raise InputError(
            f"Equation {node.equation.formula!r}: individuals have different numbers of records "
            f"(or weights) in {', '.join(node.columns)}, which one term of markers cannot have; "
            "give each column an equation of its own."
        )
    known = total[total > 0]
    if np.allclose(known, known[0]):
        return None
    return np.where(total > 0, total, 1.0)

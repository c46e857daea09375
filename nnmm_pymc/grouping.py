"""Random effects: which level each individual has, and how the effects of levels are correlated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from nnmm_pymc.data import Table
from nnmm_pymc.data.names import UNKNOWN_PARENT, joined, some
from nnmm_pymc.data.pedigree import Pedigree
from nnmm_pymc.data.precision import Precision
from nnmm_pymc.data.records import RecordTable
from nnmm_pymc.edges import Node, RandomEdge
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import Equation, Term

__all__ = ["check_levels", "column_of", "is_random", "random_edge", "table_of"]

NAME_UNKNOWN = (
    "give everybody whose parent is not known one of its own, such as 'unknown1', 'unknown2', and "
    "add these to the pedigree without parents"
)


def is_random(term: Term, layers: Mapping[str, Any]) -> bool:
    """Whether a term is of random effects: a group term, or of a pedigree or precision matrix."""
    return bool(term.group) or _kinship_of(term, layers) is not None


def _kinship_of(term: Term, layers: Mapping[str, Any]) -> str | None:
    """The layer with a pedigree or precision matrix that a term names."""
    called = (*term.functions, *term.names)
    return next((n for n in called if isinstance(layers.get(n), Pedigree | Precision)), None)


def random_edge(
    term: Term, node: Node, layers: Mapping[str, Any], individuals: pd.Index
) -> RandomEdge:
    """The random effects of a term.

    Raises
    ------
    InputError
        A column does not exist; an individual, or who a column names, is not in the pedigree; a
        factor has one level.
    """
    layer = _kinship_of(term, layers)
    if layer is None:
        return _grouped(term, node, layers, individuals)
    plain = term.label == layer or term.label == f"{layer}({','.join(term.names)})"
    if not plain or len(term.names) != 1 or len(term.functions) > 1:
        raise InputError(
            f"Equation {node.equation.formula!r}: term {term.label!r} is not understood; write "
            f"{layer!r} for the effect of each individual, or '{layer}(dam)' for that of the one "
            "whom column 'dam' names."
        )
    source = layers[layer]
    precision = source.inverse() if isinstance(source, Pedigree) else source
    columns = () if term.label == layer else term.names
    own = individuals if node.records is None else individuals[node.records.owner]
    names = (
        _level_names(columns, node, layers, individuals)
        if columns
        else pd.Series(own, dtype=object)
    )
    index = precision.individuals.get_indexer(pd.Index(names.fillna("").astype(str)))
    absent = names[(index < 0) & names.notna().to_numpy()].unique()
    unknown = [name for name in absent if name in UNKNOWN_PARENT]
    if columns and unknown:
        raise InputError(
            f"Equation {node.equation.formula!r}: {unknown[0]!r} in column {columns[0]!r} names "
            f"nobody in {layer!r}; {NAME_UNKNOWN}."
        )
    if len(absent) and not columns and not (index >= 0).any():
        raise InputError(
            f"Equation {node.equation.formula!r}: none of the individuals of the model "
            f"({some(absent)}) is in {layer!r} ({source.source}). IDs of a table are its index: "
            "use table.set_index('column of the IDs'), or individual='column' where they repeat."
        )
    if len(absent):
        who = f"of those in column {columns[0]!r}" if columns else "individuals of the model"
        raise InputError(
            f"Equation {node.equation.formula!r}: {len(absent)} {who} are not in {layer!r} "
            f"({source.source}): {some(absent)}; add them to it, founders with unknown parents."
        )
    ones = np.ones(len(index))
    return RandomEdge(
        term.label,
        f"{layer}_individual",
        precision.individuals,
        index,
        layer,
        precision,
        columns,
        None,
        ones,
    )


def _grouped(
    term: Term, node: Node, layers: Mapping[str, Any], individuals: pd.Index
) -> RandomEdge:
    names = _level_names(term.group, node, layers, individuals)
    index, levels = pd.factorize(names, sort=True)
    if len(levels) < 2:
        raise InputError(
            f"Equation {node.equation.formula!r}: {' and '.join(map(repr, term.group))} of "
            f"({term.label}) has {len(levels)} level in the individuals that are used; leave the "
            "term out."
        )
    multiplier = np.ones(len(index))
    if term.slope is not None:
        layers[table_of(term.slope, layers, node.equation)].numeric([term.slope])
        multiplier = column_of(term.slope, node, layers, individuals).to_numpy(float)
        index = np.where(np.isnan(multiplier), -1, index)
        multiplier = np.nan_to_num(multiplier)
    return RandomEdge(
        term.label,
        f"{node.name}_{term.label}_level",
        pd.Index(levels, dtype=str),
        index,
        None,
        None,
        term.group,
        term.slope,
        multiplier,
    )


def _level_names(
    columns: tuple[str, ...], node: Node, layers: Mapping[str, Any], individuals: pd.Index
) -> pd.Series:
    """Level of each row as text, of several columns `joined`; None where missing."""
    parts = [column_of(name, node, layers, individuals, levels=True) for name in columns]
    found = [joined(p) if all(p) else None for p in zip(*parts, strict=True)]
    return pd.Series(found, dtype=object)


def column_of(
    name: str,
    node: Node,
    layers: Mapping[str, Any],
    individuals: pd.Index,
    *,
    levels: bool = False,
) -> pd.Series:
    """A column by the rows of a node: record by record of its own table, else by individual.

    Its cells, or the names of its levels.

    Raises
    ------
    InputError
        It is in no table, or in another table of repeated records.
    """
    layer = table_of(name, layers, node.equation)
    table, records = layers[layer], node.records
    cells = table.levels(name) if levels else table.frame[name]
    if isinstance(table, RecordTable):
        if layer != node.layer or records is None:
            raise InputError(
                f"Equation {node.equation.formula!r}: {name!r} is in {layer!r}, which has several "
                f"records of an individual; give it a column of {node.layer!r}, or means."
            )
        return cells.iloc[records.place]
    column = cells.reindex(individuals)
    if records is not None:
        column = column.iloc[records.owner].set_axis(records.names)
    return column


def check_levels(nodes: list[Node], individuals: pd.Index) -> None:
    """Refuse individuals without a level whose values, observed or not, enter the model."""
    for node in nodes:
        used = (~np.isnan(node.observed) | node.latent).any(axis=1)
        for edge in node.random:
            lacking = node.row_names(individuals)[used & (edge.index < 0)]
            if len(lacking):
                columns = [*edge.columns, *([edge.slope] if edge.slope else [])]
                mend = "fill it in or leave them out"
                if edge.precision is not None and edge.columns:
                    mend = NAME_UNKNOWN
                raise InputError(
                    f"Equation {node.equation.formula!r}: {' or '.join(map(repr, columns))} of "
                    f"term {edge.label!r} is missing for {len(lacking)} {node.row_word} that the "
                    f"equation needs, the first {lacking[0]!r}; {mend}."
                )


def table_of(name: str, layers: Mapping[str, Any], equation: Equation) -> str:
    """Layer of which `name` is a column."""
    owners = [k for k, t in layers.items() if isinstance(t, Table) and name in t.frame.columns]
    if len(owners) == 1:
        return owners[0]
    if owners:
        raise InputError(
            f"Equation {equation.formula!r}: column {name!r} is in layers {', '.join(owners)}; "
            "rename it in all but one."
        )
    tables = [
        k if t.source in (k, "DataFrame") else f"{k} ({t.source})"
        for k, t in layers.items()
        if isinstance(t, Table)
    ]
    raise InputError(
        f"Equation {equation.formula!r}: {name!r} is neither a layer ({', '.join(layers)}) nor a "
        f"column of {', '.join(tables) or 'any table'}."
    )

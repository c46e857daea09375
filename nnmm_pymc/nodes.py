"""Equations beside data: the nodes of a network, in the order in which they can be computed.

A node is the left side of one equation: some columns of one layer for the individuals of the model.
Here names become layers, columns, dims, masks and arrays; nothing of PyMC yet.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from nnmm_pymc.connections import check_connections_used
from nnmm_pymc.data import Genotypes, LatentTable, Table
from nnmm_pymc.data.names import some
from nnmm_pymc.data.pedigree import Pedigree
from nnmm_pymc.data.precision import Precision
from nnmm_pymc.data.records import RecordTable
from nnmm_pymc.edges import Node
from nnmm_pymc.errors import InputError
from nnmm_pymc.families import check_correlated, check_family, check_tails, code_values
from nnmm_pymc.formula import Equation
from nnmm_pymc.grouping import check_levels, is_random, table_of
from nnmm_pymc.record_rows import (
    check_records,
    keep_rows,
    known_weights,
    of_owners,
    record_node,
)
from nnmm_pymc.right_side import add_right_side, matching_nodes
from nnmm_pymc.ungenotyped import close_rows

__all__ = ["resolve"]

#: Numbers that other programs write for values that are missing.
MISSING_CODES = (-9, -99, -999, -9999, -99999, 999, 9999, 99999)

# Of ten: sums of squares of squares are still numbers, with room for those of weights.
MOST_POWER = 30

RESERVED = {"individual", "record", "marker", "omic", "trait", "chain", "draw", "sample"}


def resolve(
    layers: Mapping[str, Genotypes | Table | Pedigree | Precision],
    equations: tuple[Equation, ...],
    individuals: pd.Index,
) -> tuple[list[Node], pd.Index]:
    """Turn equations into nodes.

    Parameters
    ----------
    layers : mapping
        Aligned by ID through `individuals`, not by position. Pedigrees and precision matrices have
        members of their own.
    equations : tuple of Equation
    individuals : pandas.Index
        With genotypes or without.

    Returns
    -------
    nodes : list of Node
        Parents before children.
    individuals : pandas.Index
        Those with at least one observed cell in a node, in the order given.

    Raises
    ------
    InputError
        For an unknown word, a cycle, a column without variance or data, ...
    """
    nodes = [_left_side(e, layers, individuals) for e in equations]
    for node in nodes:
        _warn_of_codes(node)
        _check_units(node)
        code_values(node, layers, individuals)
    _check_disjoint(nodes)
    _check_layers_used(layers, nodes)
    nodes = _sorted(nodes, {node.name: _parent_nodes(node, nodes, layers) for node in nodes})
    for node in nodes:
        check_records(node)
    close_rows(nodes, layers, individuals)
    keep = np.zeros(len(individuals), bool)
    for node in nodes:
        present = ~np.isnan(node.observed).all(axis=1)
        keep |= present if node.records is None else of_owners(node, present, len(individuals))
    if not keep.any():
        columns = [column for node in nodes for column in node.columns]
        raise InputError(
            f"No individual of the model has a value in {some(pd.Index(columns))}; look at the IDs "
            "of the tables, and at how missing values are written."
        )
    individuals = individuals[keep]
    for node in nodes:
        keep_rows(node, keep)
    _name_dims(nodes)
    genotypes = {k: g.reindexed(individuals) for k, g in layers.items() if isinstance(g, Genotypes)}
    for node in nodes:
        check_family(node)
        add_right_side(node, nodes, {**layers, **genotypes}, individuals)
        check_connections_used(node)
        check_tails(node)
    _mark_latent(nodes, len(individuals))
    for node in nodes:
        if node.terminal and isinstance(layers[node.layer], LatentTable):
            raise InputError(
                f"Nothing depends on the latent layer {node.layer!r}, so that nothing is known of "
                "it; let a trait depend on it, or leave it out."
            )
    for node in nodes:
        check_correlated(node)
    check_levels(nodes, individuals)
    for node in nodes:
        node.weights = known_weights(node, layers, individuals)
    _check_variation(nodes, layers)
    return nodes, individuals


def _left_side(equation: Equation, layers: Mapping[str, Any], individuals: pd.Index) -> Node:
    left = equation.left
    columns: tuple[str, ...]
    if len(left) == 1 and left[0] in layers:
        layer, columns = left[0], ()
    else:
        owners = {name: table_of(name, layers, equation) for name in left}
        if len(set(owners.values())) > 1:
            raise InputError(
                f"Equation {equation.formula!r}: the columns left of '~' are of different layers."
            )
        layer, columns = owners[left[0]], left
    table = layers[layer]
    if not isinstance(table, Table):
        kind = "genotype" if isinstance(table, Genotypes) else "relationship"
        raise InputError(f"Equation {equation.formula!r}: {kind} layer {layer!r} has no model.")
    columns = columns or _outcomes(equation, table)
    if isinstance(table, RecordTable):
        several = sum(isinstance(t, RecordTable) for t in layers.values()) > 1
        dim = f"{layer}_record" if several else "record"
        return record_node(equation, layer, table, columns, individuals, dim)
    frame = Table(table.frame.reindex(individuals), table.source).frame
    table.numeric(columns)
    observed = frame[list(columns)].to_numpy(np.float64)
    return Node("+".join(left), layer, columns, "", equation, observed)


def _warn_of_codes(node: Node) -> None:
    """Warn of values that stand for missing ones in other programs and lie far from all others."""
    for column, values in zip(node.columns, node.observed.T, strict=True):
        for code in MISSING_CODES:
            found = values == code
            rest = values[~found & ~np.isnan(values)]
            if found.any() and len(rest) > 1:
                away = max(rest.min() - code, code - rest.max())
                if away > np.ptp(rest):
                    warnings.warn(
                        f"{int(found.sum())} values of {column!r} are {code:g}, far from all "
                        "others, and are taken as they are; if they are missing, leave the cells "
                        "empty.",
                        stacklevel=2,
                    )


def _check_units(node: Node) -> None:
    """Refuse values so large or small that their squares and densities are no numbers."""
    with np.errstate(all="ignore"):
        size = np.nan_to_num(np.abs(node.observed)).max(axis=0, initial=0.0)
        wrong = np.flatnonzero((size > 0) & (np.abs(np.log10(size)) > MOST_POWER))
    if len(wrong):
        raise InputError(
            f"Column {node.columns[wrong[0]]!r} has values of up to {size[wrong[0]]:.0e}, whose "
            "squares and densities a computer's numbers do not reach; give it in other units."
        )


def _outcomes(equation: Equation, table: Table) -> tuple[str, ...]:
    """Columns that the name of their layer stands for: not those that say something of the rows."""
    words: set[str | None] = {n for t in equation.terms for n in (*t.names, *t.group, t.slope)}
    words |= {*(equation.bounds or ()), equation.weights, getattr(table, "individual", None)}
    return tuple(column for column in table.frame.columns if column not in words)


def _check_disjoint(nodes: list[Node]) -> None:
    seen: dict[str, Node] = {}
    for node in nodes:
        for column in node.columns:
            other = seen.setdefault(column, node)
            if other.layer != node.layer:
                raise InputError(
                    f"Layers {other.layer!r} and {node.layer!r} both have a column {column!r}, "
                    "which results could not tell apart; rename one (latent nodes by "
                    "latent(['a name', ...]))."
                )
            if other is not node:
                raise InputError(
                    f"Column {column!r} of layer {node.layer!r} is on the left of two equations: "
                    f"{other.equation.formula!r} and {node.equation.formula!r}."
                )


def _check_layers_used(layers: Mapping[str, Any], nodes: list[Node]) -> None:
    for name, layer in layers.items():
        if name in RESERVED:
            raise InputError(f"Layer name {name!r} is kept for dims; choose another.")
        terms = [t for node in nodes for t in node.equation.terms]
        words = {n for t in terms for n in (*t.names, *t.functions)}
        columns = set(map(str, layer.frame.columns)) if isinstance(layer, Table) else set()
        if name not in words and not words & columns and all(n.layer != name for n in nodes):
            formulas = "; ".join(repr(n.equation.formula) for n in nodes)
            shared = sorted(columns & {k for k in layers if k != name})
            why = f"; {shared[0]!r} means the layer, not the column: rename one" if shared else ""
            raise InputError(f"Layer {name!r} is used by no equation ({formulas}){why}.")


def _parent_nodes(node: Node, nodes: list[Node], layers: Mapping[str, Any]) -> list[Node]:
    terms = [t for t in node.equation.terms if not is_random(t, layers)]
    return [p for t in terms for name in t.names for p in matching_nodes(name, nodes)]


def _sorted(nodes: list[Node], parents: dict[str, list[Node]]) -> list[Node]:
    """Parents before children; a cycle is refused and spelled out."""
    done: list[Node] = []

    def visit(node: Node, path: list[Node]) -> None:
        if node in path:
            cycle = " <- ".join(n.name for n in [*path[path.index(node) :], node])
            raise InputError(f"The equations form a cycle: {cycle}; remove one of its edges.")
        if node not in done:
            for parent in parents[node.name]:
                visit(parent, [*path, node])
            done.append(node)

    for node in nodes:
        visit(node, [])
    used = {p.name for group in parents.values() for p in group}
    for node in done:
        node.terminal = node.name not in used
    return done


def _name_dims(nodes: list[Node]) -> None:
    for terminal, word in ((True, "trait"), (False, "omic")):
        group = [n for n in nodes if n.terminal is terminal]
        for node in group:
            node.dim = word if len(group) == 1 else f"{node.name}_{word}"


def _mark_latent(nodes: list[Node], n_individuals: int) -> None:
    """A missing cell is an unknown only if something observed depends on it."""
    by_name = {n.name: n for n in nodes}
    needed = {n.name: np.zeros(n.observed.shape, bool) for n in nodes}
    for node in reversed(nodes):
        active = (~np.isnan(node.observed) | needed[node.name]).any(axis=1)
        if node.records is not None:
            active = of_owners(node, active, n_individuals)
        used = [(edge.node, edge.columns) for edge in node.parents]
        used += [(name, columns) for edge in node.functions for name, columns, _ in edge.arguments]
        for name, columns in used:
            which = [by_name[name].columns.index(c) for c in columns]
            needed[name][np.ix_(active, which)] = True
    for node in nodes:
        node.latent = needed[node.name] & np.isnan(node.observed) & np.isnan(node.given)


def _check_variation(nodes: list[Node], layers: Mapping[str, Any]) -> None:
    for node in nodes:
        if isinstance(layers[node.layer], LatentTable):
            continue
        for column, values in zip(node.columns, node.observed.T, strict=True):
            present = values[~np.isnan(values)]
            source = layers[node.layer].source
            if not len(present):
                raise InputError(
                    f"{source}: column {column!r} has no value in any individual that is used; "
                    f"leave it out, or make it a latent node: Layer(..., latent([{column!r}]))."
                )
            if len(present) > 1 and np.ptp(present) == 0:
                raise InputError(
                    f"{source}: column {column!r} has no variance (all {present[0]:g}); leave it "
                    "out."
                )

"""Equations beside data: the nodes of a network, in the order in which they can be computed.

A node is the left side of one equation: some columns of one layer for the individuals of the model.
Here names become layers, columns, dims, masks and arrays; nothing of PyMC yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from nnmm_pymc.activations import FUNCTIONS
from nnmm_pymc.connections import check_connections_used, connection_mask
from nnmm_pymc.data import (
    GenomicRelationship,
    Genotypes,
    LatentTable,
    Relationship,
    Table,
    genomic_relationship,
)
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import ACTIVATIONS, Covariate, Equation, Term, code_covariates

__all__ = ["MarkerEdge", "Node", "ParentEdge", "node_called", "resolve"]

RESERVED = {"individual", "marker", "omic", "trait", "chain", "draw", "sample"}


@dataclass(frozen=True, eq=False)
class MarkerEdge:
    """Markers of a genotype layer that reach the columns of a node."""

    label: str
    layer: str
    genotypes: Genotypes
    dim: str
    mask: np.ndarray | None

    @cached_property
    def relationship(self) -> GenomicRelationship | None:
        """Genomic relationship of the individuals; none where the layer is a relationship."""
        if isinstance(self.genotypes, Relationship):
            return None
        return genomic_relationship(self.genotypes)


@dataclass(frozen=True, eq=False)
class ParentEdge:
    """A function of other nodes' columns that enters with weights."""

    label: str
    node: str
    columns: tuple[str, ...]
    activation: str
    scaled: bool
    mask: np.ndarray | None


@dataclass(frozen=True, eq=False)
class FunctionEdge:
    """A function of a user's own whose outputs enter with weights.

    Attributes
    ----------
    label : str
        As written.
    name : str
        Name of the function.
    function : callable
    arguments : tuple of (str, tuple of str, bool)
        Node and columns of each argument, and whether it is a layer (a matrix).
    """

    label: str
    name: str
    function: Callable[..., Any]
    arguments: tuple[tuple[str, tuple[str, ...], bool], ...]


@dataclass(eq=False)
class Node:
    """The left side of one equation.

    Attributes
    ----------
    name : str
        The left side as written; prefix of the node's variables.
    dim : str
        Dim of its columns: ``omic`` or ``trait``, with the name before it if there are several.
    observed : (individual, column) array
        NaN where missing.
    latent : (individual, column) array of bool
        Missing cells that something observed depends on: unknowns of the model. Other missing
        cells carry no information and are left out of it.
    """

    name: str
    layer: str
    columns: tuple[str, ...]
    dim: str
    equation: Equation
    observed: np.ndarray
    terminal: bool = True
    latent: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    markers: list[MarkerEdge] = field(default_factory=list)
    parents: list[ParentEdge] = field(default_factory=list)
    functions: list[FunctionEdge] = field(default_factory=list)
    covariates: list[Covariate] = field(default_factory=list)

    @property
    def hidden(self) -> bool:
        """Whether the node is latent: without any observed cell."""
        return bool(np.isnan(self.observed).all())

    @property
    def n_genetic_terms(self) -> int:
        """Terms that share the prior heritability."""
        return max(1, len(self.markers))


def node_called(nodes: Sequence[Node], name: str) -> Node:
    """The node of this name."""
    return next(node for node in nodes if node.name == name)


def resolve(
    layers: Mapping[str, Genotypes | Table], equations: tuple[Equation, ...], individuals: pd.Index
) -> tuple[list[Node], pd.Index]:
    """Turn equations into nodes.

    Parameters
    ----------
    layers : mapping
        Aligned by ID through `individuals`, not by position.
    equations : tuple of Equation
    individuals : pandas.Index
        Individuals that every genotype layer has.

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
    _check_disjoint(nodes)
    _check_layers_used(layers, nodes)
    keep = np.zeros(len(individuals), bool)
    for node in nodes:
        keep |= ~np.isnan(node.observed).all(axis=1)
    if not keep.any():
        raise InputError("No genotyped individual has a value in a column that is modelled.")
    individuals = individuals[keep]
    for node in nodes:
        node.observed = node.observed[keep]
    parents = {node.name: _parent_nodes(node, nodes) for node in nodes}
    nodes = _sorted(nodes, parents)
    _name_dims(nodes)
    genotypes = {k: g.take(individuals) for k, g in layers.items() if isinstance(g, Genotypes)}
    for node in nodes:
        _right_side(node, nodes, {**layers, **genotypes}, individuals)
        check_connections_used(node)
    _mark_latent(nodes)
    _check_variation(nodes, layers)
    return nodes, individuals


def _left_side(equation: Equation, layers: Mapping[str, Any], individuals: pd.Index) -> Node:
    left = equation.left
    if len(left) == 1 and left[0] in layers:
        layer, columns = left[0], tuple(layers[left[0]].frame.columns)
    else:
        owners = {name: _table_of(name, layers, equation) for name in left}
        if len(set(owners.values())) > 1:
            raise InputError(
                f"Equation {equation.formula!r}: the columns left of '~' are of different layers."
            )
        layer, columns = owners[left[0]], left
    table = layers[layer]
    if isinstance(table, Genotypes):
        raise InputError(f"Equation {equation.formula!r}: genotype layer {layer!r} has no model.")
    frame = Table(table.frame.reindex(individuals), table.source).frame
    table.numeric(columns)
    observed = frame[list(columns)].to_numpy(np.float64)
    return Node("+".join(left), layer, columns, "", equation, observed)


def _table_of(name: str, layers: Mapping[str, Any], equation: Equation) -> str:
    """Layer of which `name` is a column."""
    owners = [k for k, t in layers.items() if isinstance(t, Table) and name in t.frame.columns]
    if len(owners) == 1:
        return owners[0]
    if owners:
        raise InputError(
            f"Equation {equation.formula!r}: column {name!r} is in layers {', '.join(owners)}; "
            "rename it in all but one."
        )
    tables = [k for k, t in layers.items() if isinstance(t, Table)]
    raise InputError(
        f"Equation {equation.formula!r}: {name!r} is neither a layer ({', '.join(layers)}) nor a "
        f"column of {', '.join(tables) or 'any table'}."
    )


def _check_disjoint(nodes: list[Node]) -> None:
    seen: dict[tuple[str, str], Node] = {}
    for node in nodes:
        for column in node.columns:
            other = seen.setdefault((node.layer, column), node)
            if other is not node:
                raise InputError(
                    f"Column {column!r} of layer {node.layer!r} is on the left of two equations: "
                    f"{other.equation.formula!r} and {node.equation.formula!r}."
                )


def _check_layers_used(layers: Mapping[str, Any], nodes: list[Node]) -> None:
    for name, layer in layers.items():
        if name in RESERVED:
            raise InputError(f"Layer name {name!r} is kept for dims; choose another.")
        words = {n for node in nodes for t in node.equation.terms for n in t.names}
        columns = set() if isinstance(layer, Genotypes) else set(map(str, layer.frame.columns))
        if name not in words and not words & columns and all(n.layer != name for n in nodes):
            formulas = "; ".join(repr(n.equation.formula) for n in nodes)
            raise InputError(f"Layer {name!r} is used by no equation ({formulas}).")


def _matching(name: str, nodes: list[Node]) -> list[Node]:
    """Nodes that a word of a right side means: all of a layer, or the one with the column."""
    whole = [n for n in nodes if n.layer == name]
    return whole or [n for n in nodes if name in n.columns]


def _parent_nodes(node: Node, nodes: list[Node]) -> list[Node]:
    return [p for t in node.equation.terms for name in t.names for p in _matching(name, nodes)]


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


def _right_side(
    node: Node, nodes: list[Node], layers: Mapping[str, Any], individuals: pd.Index
) -> None:
    n_genotypes = sum(isinstance(layer, Genotypes) for layer in layers.values())
    functions = {**FUNCTIONS, **node.equation.functions}
    covariates = []
    for term in node.equation.terms:
        meant = [name for name in term.names if name in layers or _matching(name, nodes)]
        if not meant:
            covariates.append(term)
            continue
        call = term.call
        if call is not None and call[0] in functions and call[0] not in ACTIVATIONS:
            node.functions.append(_function_edge(term, call, node, nodes, functions))
            continue
        if len(term.names) > 1 or (term.label != term.names[0] and not term.functions):
            raise InputError(
                f"Equation {node.equation.formula!r}: term {term.label!r} is not understood; "
                f"{meant[0]!r} enters alone, inside activations ({', '.join(ACTIVATIONS)}), or in "
                "a function of your own, given as functions={'name': function}."
            )
        name = term.names[0]
        layer = layers.get(name)
        if isinstance(layer, Genotypes):
            if term.functions:
                raise InputError(
                    f"Equation {node.equation.formula!r}: genotypes enter linearly, write "
                    f"{name!r} instead of {term.label!r}."
                )
            dim = "marker" if n_genotypes == 1 else f"{name}_marker"
            mask = connection_mask(node, term, tuple(layer.markers), "marker")
            node.markers.append(MarkerEdge(term.label, name, layer, dim, mask))
        else:
            matching = _matching(name, nodes)
            if not matching:
                raise InputError(
                    f"Equation {node.equation.formula!r}: layer {name!r} has no equation of its "
                    f"own; add one such as '{name} ~ 1 + geno'."
                )
            activation, scaled = _activation(term, node)
            for parent in matching:
                columns = parent.columns if parent.layer == name else (name,)
                mask = connection_mask(node, term, columns, "omic")
                node.parents.append(
                    ParentEdge(term.label, parent.name, columns, activation, scaled, mask)
                )
    if covariates:
        node.covariates = _covariates(covariates, node, layers, individuals)


def _function_edge(
    term: Term,
    call: tuple[str, tuple[str, ...]],
    node: Node,
    nodes: list[Node],
    functions: Mapping[str, Callable[..., Any]],
) -> FunctionEdge:
    arguments = []
    for name in call[1]:
        matching = _matching(name, nodes)
        if len(matching) != 1:
            raise InputError(
                f"Equation {node.equation.formula!r}: argument {name!r} of {call[0]!r} must be a "
                "layer or column with one equation of its own."
            )
        whole = matching[0].layer == name
        columns = matching[0].columns if whole else (name,)
        arguments.append((matching[0].name, columns, whole))
    return FunctionEdge(term.label, call[0], functions[call[0]], tuple(arguments))


def _activation(term: Term, node: Node) -> tuple[str, bool]:
    names = [f for f in term.functions if f != "scale"]
    scaled = "scale" in term.functions
    if (
        len(names) > 1
        or any(f not in ACTIVATIONS for f in names)
        or (scaled and term.functions.index("scale") != len(term.functions) - 1)
    ):
        raise InputError(
            f"Equation {node.equation.formula!r}: {term.label!r} is not understood; activations "
            f"are {', '.join(ACTIVATIONS)}, with scale() innermost."
        )
    return (names[0] if names else "identity"), scaled


def _covariates(
    terms: list[Term], node: Node, layers: Mapping[str, Any], individuals: pd.Index
) -> list[Covariate]:
    names = dict.fromkeys(name for term in terms for name in term.names)
    columns = {name: _complete_column(name, node, layers, individuals) for name in names}
    labels = [term.label for term in terms]
    return code_covariates(node.equation, labels, pd.DataFrame(columns, index=individuals))


def _complete_column(
    name: str, node: Node, layers: Mapping[str, Any], individuals: pd.Index
) -> pd.Series:
    """A covariate; individuals without data in the node may lack it, and get its mean or mode."""
    table = layers[_table_of(name, layers, node.equation)]
    column = table.frame[name].reindex(individuals)
    used = ~np.isnan(node.observed).all(axis=1)
    lacking = individuals[column.isna().to_numpy() & used]
    if len(lacking):
        raise InputError(
            f"Equation {node.equation.formula!r}: {name!r} is missing for {len(lacking)} "
            f"individuals that the equation needs, the first {lacking[0]!r}; fill it in or "
            "leave them out."
        )
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.cat.remove_unused_categories()
    numeric = pd.api.types.is_numeric_dtype(column)
    return column.fillna(column.mean() if numeric else column.mode().iloc[0])


def _mark_latent(nodes: list[Node]) -> None:
    """A missing cell is an unknown only if something observed depends on it."""
    by_name = {n.name: n for n in nodes}
    needed = {n.name: np.zeros(n.observed.shape, bool) for n in nodes}
    for node in reversed(nodes):
        active = (~np.isnan(node.observed) | needed[node.name]).any(axis=1)
        used = [(edge.node, edge.columns) for edge in node.parents]
        used += [(name, columns) for edge in node.functions for name, columns, _ in edge.arguments]
        for name, columns in used:
            which = [by_name[name].columns.index(c) for c in columns]
            needed[name][np.ix_(active, which)] = True
    for node in nodes:
        node.latent = needed[node.name] & np.isnan(node.observed)


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

"""Connections by name: which markers or omics may reach which column of a node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nnmm_pymc.edge_table import EdgeTable
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import Term

if TYPE_CHECKING:
    from nnmm_pymc.edges import Node

__all__ = ["check_connections_used", "connection_mask"]


def connection_mask(
    node: Node, term: Term, parents: tuple[str, ...], word: str
) -> np.ndarray | None:
    """Which parents of a term may reach which columns of a node.

    Parameters
    ----------
    node : Node
    term : Term
    parents : tuple of str
        Names of the markers or omics of the term.
    word : {"marker", "omic"}
        What messages call them.

    Returns
    -------
    (parent, column) array of bool, or None if all are connected

    Raises
    ------
    InputError
        If the connections of the equation are no lists of names, or name what does not exist.
    """
    connections = _connections_of(node, term, parents)
    if connections is None:
        return None
    mask = np.ones((len(parents), len(node.columns)), bool)
    position = {name: i for i, name in enumerate(parents)}
    if isinstance(connections, EdgeTable):
        _check_header(connections, node, parents, word)
    where = f"Equation {node.equation.formula!r}: connections"
    for child, wanted in connections.items():
        if child not in node.columns:
            raise InputError(
                f"{where} name {child!r}, which is not a column of {node.layer!r}; check the name."
            )
        if isinstance(wanted, str) or not isinstance(wanted, Iterable):
            raise InputError(f"{where} of {child!r} are {wanted!r}; give a list of names.")
        wanted = list(wanted)
        unknown = [w for w in wanted if not isinstance(w, str) or w not in position]
        if unknown:
            raise InputError(
                f"{where} of {child!r} name the {word} {unknown[0]!r}, which does not exist or was "
                f"dropped ({len(unknown)} of {len(wanted)} are unknown); take it out"
                f"{_by_term(node)}."
            )
        column = node.columns.index(child)
        mask[:, column] = False
        mask[[position[w] for w in wanted], column] = True
    return mask


def _check_header(table: EdgeTable, node: Node, parents: tuple[str, ...], word: str) -> None:
    """Refuse a first line that is an edge: it would be lost, and its column reached by all."""
    child, parent = table.header
    if child in node.columns or parent in parents:
        what = f"column {child!r}" if child in node.columns else f"{word} {parent!r}"
        raise InputError(
            f"{table.source}: the header names the {what} of the network, so that it is an edge "
            "and would be lost: put a header above it, such as omic,marker."
        )


def _by_term(node: Node) -> str:
    """What else may be wrong where connections are not given by term."""
    labels = [t.label for t in node.equation.terms if t.names]
    given = node.equation.connections or {}
    if len(labels) < 2 or any(isinstance(value, Mapping) for value in given.values()):
        return ""
    shown = ", ".join(f"{label!r}: {{...}}" for label in labels)
    return f", or, if it is of another term, give connections by term: {{{shown}}}"


def _connections_of(node: Node, term: Term, parents: tuple[str, ...]) -> Mapping[str, Any] | None:
    """Connections that speak of this term: under its name, or the only ones there are."""
    given = node.equation.connections
    if given is None:
        return None
    where = f"Equation {node.equation.formula!r}: connections"
    if not isinstance(given, Mapping):
        raise InputError(
            f"{where} are a {type(given).__name__}; give a mapping from children to their parents, "
            "such as read_connections makes of a table."
        )
    terms = {name for t in node.equation.terms for name in (t.label, *t.names)}
    if any(isinstance(value, Mapping) for value in given.values()):
        unknown = [key for key in given if key not in terms]
        if unknown:
            raise InputError(
                f"{where} name {unknown[0]!r}, which is no term of it; its terms are "
                f"{', '.join(sorted(terms))}."
            )
        return next((given[key] for key in (term.label, *term.names) if key in given), None)
    others = [t for t in node.equation.terms if t is not term and t.label != term.label]
    if not others:
        return given
    # Several terms: the connections are of the one whose parents they name.
    known = set(parents)
    lists = [v for v in given.values() if isinstance(v, Iterable) and not isinstance(v, str)]
    named = {w for wanted in lists for w in wanted if isinstance(w, str)}
    return given if named & known else None


def check_connections_used(node: Node) -> None:
    """Refuse connections that speak of no term of the equation."""
    masks = [edge.mask for edge in node.markers] + [edge.mask for edge in node.parents]
    if node.equation.connections is not None and all(mask is None for mask in masks):
        raise InputError(
            f"Equation {node.equation.formula!r}: its connections name no marker or omic of any of "
            "its terms; check the names, or give them under the term they are of."
        )

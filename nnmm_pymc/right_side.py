"""The right side of an equation: what each of its terms is, and the edge or design it becomes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from nnmm_pymc.activations import FUNCTIONS
from nnmm_pymc.connections import connection_mask
from nnmm_pymc.covariates import Covariate, code_covariates, columns_by_use
from nnmm_pymc.data import Genotypes
from nnmm_pymc.data.names import name_text
from nnmm_pymc.data.numbers import WITH_UNIT
from nnmm_pymc.edges import FunctionEdge, MarkerEdge, Node, ParentEdge
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import ACTIVATIONS, Term
from nnmm_pymc.grouping import column_of, is_random, random_edge

__all__ = ["add_right_side", "matching_nodes"]

#: Columns of covariates up to which they are searched for combinations of each other.
MOST_COLUMNS = 300


def matching_nodes(name: str, nodes: list[Node]) -> list[Node]:
    """Nodes that a word of a right side means: all of a layer, or the one with the column."""
    whole = [n for n in nodes if n.layer == name]
    return whole or [n for n in nodes if name in n.columns]


def add_right_side(
    node: Node, nodes: list[Node], layers: Mapping[str, Any], individuals: pd.Index
) -> None:
    """Fill in what reaches a node, from the terms of its equation."""
    n_genotypes = sum(isinstance(layer, Genotypes) for layer in layers.values())
    functions = {**FUNCTIONS, **node.equation.functions}
    covariates = []
    for term in node.equation.terms:
        if is_random(term, layers):
            node.random.append(random_edge(term, node, layers, individuals))
            continue
        meant = [name for name in term.names if name in layers or matching_nodes(name, nodes)]
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
            matching = matching_nodes(name, nodes)
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
        matching = matching_nodes(name, nodes)
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
    labels = [term.label for term in terms]
    factors, numbers = columns_by_use(node.equation, labels)
    columns = {}
    for name in names:
        column = column_of(name, node, layers, individuals)
        if name in numbers:
            _refuse_units(column, node)
        if name in factors:
            levels = column_of(name, node, layers, individuals, levels=True)
            column = _as_written(column, levels, name in numbers, node)
        columns[name] = _complete(column, node, name in factors)
    found = code_covariates(node.equation, labels, pd.DataFrame(columns))
    _check_informative(found, node)
    return found


def _check_informative(covariates: list[Covariate], node: Node) -> None:
    """Refuse terms that do not vary, and warn of those that others say already."""
    used = ~np.isnan(node.observed).all(axis=1)
    used |= not used.any()
    where = f"Equation {node.equation.formula!r}"
    whole = np.ones((int(used.sum()), int(node.equation.intercept)))
    rank = whole.shape[1]
    for covariate in covariates:
        own = covariate.design[used]
        if not (own.std(axis=0) > 0).any() and (node.equation.intercept or not own.any()):
            raise InputError(
                f"{where}: {covariate.label!r} is the same in all {len(own)} {node.row_word} that "
                "are used; leave the term out."
            )
        added = own[:, own.any(axis=0)]
        whole = np.hstack([whole, added])
        if whole.shape[1] > MOST_COLUMNS:
            continue
        before, rank = rank, _rank(whole)
        if rank < before + added.shape[1]:
            warnings.warn(
                f"{where}: {covariate.label!r} is in part a combination of the terms before it; "
                "what each of them adds is then known by its prior only. Leave one out.",
                stacklevel=2,
            )


def _rank(matrix: np.ndarray) -> int:
    """Rank of columns of any units."""
    size = np.sqrt(np.sum(matrix**2, axis=0))
    return int(np.linalg.matrix_rank(matrix / np.where(size > 0, size, 1.0), tol=1e-8))


def _refuse_units(column: pd.Series, node: Node) -> None:
    """Refuse numbers that are read as texts, each a level, for the one unit that they all have."""
    if not pd.api.types.is_string_dtype(column.dtype):
        return
    found = [WITH_UNIT.fullmatch(str(cell)) for cell in column.dropna()]
    if found and all(found) and len({match[1] for match in found if match}) == 1:
        raise InputError(
            f"Equation {node.equation.formula!r}: the cells of {column.name!r}, such as "
            f"{column.dropna().iloc[0]!r}, are no numbers because of what stands behind these; "
            f"take it out, or write C({column.name}) if they are levels."
        )


def _as_written(column: pd.Series, levels: pd.Series, number: bool, node: Node) -> pd.Series:
    """A factor by the codes that were written for it, where they are not as numbers print.

    Raises
    ------
    InputError
        Such a column also stands as a number.
    """
    codes = pd.DataFrame({"number": column.to_numpy(), "code": levels.to_numpy()}).dropna()
    codes = codes.drop_duplicates()
    if column.dtype != np.float64 or all(codes["code"] == codes["number"].map(name_text)):
        return column
    if number:
        odd = codes["code"][codes["code"] != codes["number"].map(name_text)]
        raise InputError(
            f"Equation {node.equation.formula!r}: {column.name!r} stands as a factor and as a "
            f"number, but has codes such as {odd.iloc[0]!r}; give the factor a column of its own, "
            "with a letter before each code."
        )
    order = codes.sort_values(["number", "code"])["code"]
    return pd.Series(pd.Categorical(levels, order, ordered=True), column.index, name=column.name)


def _complete(column: pd.Series, node: Node, factor: bool) -> pd.Series:
    """A covariate; rows without data in the node may lack it, and get its mean or mode."""
    used = ~np.isnan(node.observed).all(axis=1)
    lacking = column.index[column.isna().to_numpy() & used]
    if len(lacking):
        raise InputError(
            f"Equation {node.equation.formula!r}: {column.name!r} is missing for {len(lacking)} "
            f"{node.row_word} that the equation needs, the first {lacking[0]!r}; fill it in or "
            "leave them out."
        )
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.cat.remove_unused_categories()
    numeric = pd.api.types.is_numeric_dtype(column) and not factor
    return column.fillna(column.mean() if numeric else column.mode().iloc[0])

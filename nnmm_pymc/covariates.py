"""Design matrices of covariates, factors and interactions, coded by formulae."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from formulae.environment import Environment
from formulae.matrices import DesignMatrices
from formulae.terms import Call, Variable

from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import Equation, is_intercept, label_of, parsed_model

__all__ = ["Covariate", "code_covariates", "columns_by_use"]

#: Functions of covariates, besides those of formulae (``C``, ``center``, ``scale``, ``bs``, ...).
FUNCTIONS = {name: getattr(np, name) for name in ("log", "log2", "log10", "exp", "sqrt", "abs")}


@dataclass(frozen=True, eq=False)
class Covariate:
    """One term of an equation's design matrix: a covariate, a factor or an interaction.

    Attributes
    ----------
    label : str
        The term as written, without spaces.
    design : (individual, column) array
    levels : tuple of str
        Names of the columns.
    products : tuple, optional
        What each column is a product of: pairs of a name and a level for an indicator, of a name
        and None for the values themselves. None for a transformed covariate such as ``log(age)``.
    factors : dict
        All levels of the factors in the products.
    """

    label: str
    design: np.ndarray
    levels: tuple[str, ...]
    products: tuple[tuple[tuple[str, Any], ...], ...] | None
    factors: dict[str, list[Any]]


def code_covariates(
    equation: Equation, labels: Sequence[str], frame: pd.DataFrame
) -> list[Covariate]:
    """Design matrices of an equation's covariates, coded together: no column repeats the others.

    Parameters
    ----------
    equation : Equation
    labels : sequence of str
        Those of its terms that are covariates.
    frame : DataFrame
        Their columns without missing cells; rows are individuals.

    Returns
    -------
    list of Covariate
        In the order of `labels`. What formulae adds for a complete coding (``herd`` before
        ``sex:herd``, where that stands alone) is part of the term that needs it.

    Raises
    ------
    InputError
        If a function is not known, or a value is not finite.
    """
    model = parsed_model(equation.formula)
    used = [t for t in model.common_terms if is_intercept(t) or label_of(t) in labels]
    # Main effects first: formulae adds those that an interaction lacks, even if they follow it.
    model.common_terms = sorted(used, key=lambda t: len(t.var_names))
    model.group_terms = []
    matrix = _evaluated(model, frame, f"Equation {equation.formula!r}: {', '.join(labels)}")
    parts: dict[str, list[Any]] = {}
    waiting: list[Any] = []
    for term in matrix.terms.values():
        if not is_intercept(term):
            waiting.append(term)
        if label_of(term) in labels:
            parts[label_of(term)], waiting = waiting, []
    return [_covariate(label, parts[label], matrix) for label in labels]


def columns_by_use(equation: Equation, labels: Sequence[str]) -> tuple[set[str], set[str]]:
    """Columns that stand in ``C(...)`` in some term, and those that stand elsewhere."""
    terms = [t for t in parsed_model(equation.formula).common_terms if label_of(t) in labels]
    parts = [part for term in terms if not is_intercept(term) for part in term.components]
    factors = {name for part in parts if _is_factor(part) for name in part.var_names}
    return factors, {name for part in parts if not _is_factor(part) for name in part.var_names}


def _is_factor(component: Any) -> bool:
    return isinstance(component, Call) and component.call.callee == "C"


def _evaluated(model: Any, frame: pd.DataFrame, where: str) -> Any:
    try:
        with np.errstate(all="ignore"):
            matrix = DesignMatrices(model, frame, Environment([FUNCTIONS | {"np": np}])).common
    except KeyError as error:
        raise InputError(
            f"{where}: function {error} is not known; functions are {', '.join(FUNCTIONS)}, any of "
            "NumPy (np.log1p), and those of formulae (C, center, scale, bs, ...)."
        ) from None
    except Exception as error:  # whatever a function makes of the data
        raise InputError(f"{where} cannot be evaluated: {error}.") from None
    wrong = frame.index[~np.isfinite(matrix.design_matrix).all(axis=1)]
    if len(wrong):
        raise InputError(f"{where} cannot be computed for individual {wrong[0]!r}: not finite.")
    return matrix


def _covariate(label: str, parts: list[Any], matrix: Any) -> Covariate:
    design = np.hstack([matrix.design_matrix[:, matrix.slices[t.name]] for t in parts])
    levels = tuple(str(level) for term in parts for level in term.labels)
    components = {c.name: c for term in parts for c in term.components}
    sources = {name: s for name, c in components.items() if (s := _source(c)) is not None}
    if len(sources) < len(components):
        return Covariate(label, design.astype(float), levels, None, {})
    products = [
        p for term in parts for p in product(*(_columns(c, sources) for c in term.components))
    ]
    factors = {sources[c.name]: c.levels for c in components.values() if c.kind == "categoric"}
    return Covariate(label, design.astype(float), levels, tuple(products), factors)


def _source(component: Any) -> str | None:
    """The column that a part of an interaction is, plain or as a factor ``C(...)``; else None."""
    if isinstance(component, Variable):
        return component.name
    alone = _is_factor(component) and len(component.call.args) == 1 and not component.call.kwargs
    return next(iter(component.var_names)) if alone else None


def _columns(component: Any, sources: Mapping[str, str]) -> list[tuple[str, Any]]:
    name = sources[component.name]
    if component.kind == "numeric":
        return [(name, None)]
    # Treatment coding: an indicator of each level, but the first where others say the same.
    levels = component.levels if component.spans_intercept else component.levels[1:]
    return [(name, level) for level in levels]

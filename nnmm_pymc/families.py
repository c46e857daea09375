r"""Phenotypes that are not Gaussian: what their values may be, and the scale of what lies behind.

Behind each value stands a liability l that is Gaussian given everything else, so that all terms of
an equation mean the same whatever the family:

- ``"bernoulli"``: 1 where l > 0, residual variance 1 (a probit model; Albert & Chib 1993, J Am Stat
  Assoc 88:669);
- ``"ordinal"``: ordered categories, between unknown cutpoints of which the first is 0;
- ``"poisson"``: a count with mean exp(l), the residual variance being overdispersion;
- ``"negative_binomial"``: a count with mean m = exp(l) and variance :math:`m + \phi m^2`. The
  dispersion :math:`\phi` and the residual variance say nearly the same; give one a prior, or
  the residual variance a number, where it matters which;
- ``"censored"``: l itself, of which some records only say that it lies between bounds;
- ``"student_t"``: l itself, with residuals of a t distribution: normal given a precision of its own
  for each, :math:`w \sim \mathrm{Gamma}(\nu/2, \nu/2)` (Geweke 1993, J Appl Econom 8:S19), and
  scaled so that the residual variance is what it is called, whatever :math:`\nu > 2` is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from nnmm_pymc.data.records import RecordTable
from nnmm_pymc.edges import Node
from nnmm_pymc.errors import InputError

__all__ = [
    "COUNTS",
    "THRESHOLD",
    "check_correlated",
    "check_family",
    "check_tails",
    "code_values",
    "liability_scale",
]

#: Families whose residual variance is 1.
THRESHOLD = ("bernoulli", "ordinal")
COUNTS = ("poisson", "negative_binomial")


def code_values(node: Node, layers: Mapping[str, Any], individuals: pd.Index) -> None:
    """Check the values of a node for its family; number categories, take in bounds.

    Raises
    ------
    InputError
        Values are none of the family, or bounds are missing or the wrong way round.
    """
    family, values = node.equation.family, node.observed
    known = ~np.isnan(values)
    where = f"Equation {node.equation.formula!r}, family {family!r}"
    if family == "bernoulli":
        odd = known & ~np.isin(values, (0.0, 1.0))
        _refuse(odd, node, individuals, f"{where}: values must be 0 or 1")
    if family in COUNTS:
        odd = known & ((values < 0) | (values != np.round(values)))
        _refuse(odd, node, individuals, f"{where}: values must be counts 0, 1, 2, ...")
    if family == "ordinal":
        node.categories = np.unique(values[known])
        if not 3 <= len(node.categories) <= 50:
            raise InputError(
                f"{where}: there are {len(node.categories)} categories; give 3 to 50 as numbers "
                "(of two use family='bernoulli')."
            )
        codes = np.searchsorted(node.categories, np.where(np.isnan(values), 0.0, values))
        node.observed = np.where(np.isnan(values), np.nan, codes)
    if family == "censored":
        _take_bounds(node, layers[node.layer], individuals, where)


def _refuse(odd: np.ndarray, node: Node, individuals: pd.Index, what: str) -> None:
    """Refuse cells that are odd, and name the first."""
    if odd.any():
        row, column = np.argwhere(odd)[0]
        raise InputError(
            f"{what}; {int(odd.sum())} are not, the first {node.observed[row, column]:g} of "
            f"{node.row_names(individuals)[row]!r} in {node.columns[column]!r}."
        )


def _take_bounds(node: Node, table: Any, individuals: pd.Index, where: str) -> None:
    """Bounds of the values that are not known; a stand-in within them goes where these are."""
    bounds = node.equation.bounds
    if bounds is None or len(node.columns) != 1:
        raise InputError(
            f"{where}: give one column on the left, and bounds=(lower, upper), the columns between "
            "which a value lies that is missing there."
        )
    numbers = pd.DataFrame(table.numeric(list(bounds)), table.frame.index)
    if isinstance(table, RecordTable):
        assert node.records is not None
        low, high = numbers.iloc[node.records.place].to_numpy().T[:, :, None]
    else:
        low, high = numbers.reindex(individuals).to_numpy().T[:, :, None]
    unknown = np.isnan(node.observed) & ~(np.isnan(low) & np.isnan(high))
    names = node.row_names(individuals)
    for odd, what in (
        (unknown & (low >= high), f"{bounds[0]!r} must be below {bounds[1]!r}"),
        ((node.observed < low) | (node.observed > high), "a value must lie within its bounds"),
    ):
        if odd.any():
            raise InputError(
                f"{where}: {what}; correct {int(odd.sum())} {node.row_word}, the first "
                f"{names[int(np.argmax(odd))]!r}."
            )
    inside = np.where(np.isnan(low), high, np.where(np.isnan(high), low, 0.5 * (low + high)))
    node.bounds = (
        np.where(unknown, np.where(np.isnan(low), -np.inf, low), np.nan),
        np.where(unknown, np.where(np.isnan(high), np.inf, high), np.nan),
    )
    node.observed = np.where(unknown, inside, node.observed)


def check_family(node: Node) -> None:
    """Refuse other families where something depends on the node, or its residual variance is set.

    Raises
    ------
    InputError
    """
    equation = node.equation
    where = f"Equation {equation.formula!r}, family {equation.family!r}"
    if equation.family != "gaussian" and not node.terminal:
        raise InputError(f"{where}: only a trait that nothing depends on can have another family.")
    if equation.family in THRESHOLD and "residual_variance" in equation.priors:
        raise InputError(f"{where}: the residual variance is 1; leave out its prior.")
    if equation.family in (*THRESHOLD, *COUNTS) and equation.weights is not None:
        raise InputError(f"{where}: weights are those of Gaussian values; leave them out.")


def check_correlated(node: Node) -> None:
    """Refuse correlated residuals where they have no covariance matrix of their own.

    Raises
    ------
    InputError
    """
    equation = node.equation
    if equation.residual != "correlated":
        return
    where = f"Equation {equation.formula!r}, residual='correlated'"
    if len(node.columns) < 2:
        raise InputError(f"{where}: there is one column only; leave it out.")
    if equation.family != "gaussian" or not node.terminal or node.hidden:
        raise InputError(f"{where}: it is for Gaussian traits that nothing depends on.")
    if equation.weights is not None:
        raise InputError(f"{where}: the covariance of a row has no weights; leave them out.")


def check_tails(node: Node) -> None:
    """Refuse what residuals of a t cannot have: terms of markers, and a variance without end.

    Raises
    ------
    InputError
    """
    equation = node.equation
    if equation.family != "student_t":
        return
    where = f"Equation {equation.formula!r}, family 'student_t'"
    if node.markers:
        raise InputError(
            f"{where}: the precisions of the individuals differ, so the markers of "
            f"{node.markers[0].label!r} cannot be swept; give a layer with a pedigree or a "
            "precision matrix instead, such as the inverse of a genomic relationship."
        )
    df = equation.priors.get("df")
    if isinstance(df, int | float | list | np.ndarray) and np.min(df) <= 2:
        raise InputError(f"{where}: df is {df}; the variance needs more than 2.")


def liability_scale(node: Node) -> tuple[np.ndarray, np.ndarray]:
    """Centre and standard deviation of the liabilities of each column, as the data suggest them.

    The residual variance of 1 of a threshold model is half of their variance.
    """
    values, family = node.observed, node.equation.family
    if family in COUNTS:
        logs = np.log(values + 0.5)
        return np.nanmean(logs, axis=0), np.maximum(np.nanstd(logs, axis=0), 0.1)
    above = np.nanmean(values > 0, axis=0, where=~np.isnan(values))
    return np.sqrt(2.0) * ndtri(np.clip(above, 0.01, 0.99)), np.full(values.shape[1], np.sqrt(2.0))

"""Checking the arguments of `simulate`: one sentence for whatever cannot be used."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nnmm_pymc.errors import InputError

Array = NDArray[np.float64]

MISSING = (None, "cells", "individuals", "all")


def check_count(value: Any, name: str, least: int) -> int:
    """Return `value` as an int, or raise InputError unless it is a whole number from `least` up."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise InputError(f"{name} is {value!r}; give a whole number of at least {least}.")
    return int(value)


def check_number(value: Any, what: str, low: float = -math.inf, high: float = math.inf) -> float:
    """Return `value` as a float, or raise InputError unless it is finite and in the range."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    number = float(value) if real else math.nan
    if not (math.isfinite(number) and low <= number <= high):
        between = f" from {low} to {high}" if math.isfinite(high) else ""
        raise InputError(f"{what} is {value!r}; give a finite number{between}.")
    return number


def check_numbers(
    value: Any, names: list[str], what: str, low: float = -math.inf, high: float = math.inf
) -> Array:
    """One number for each name, from one for all or a sequence, each checked for its range."""
    return np.array([check_number(v, what, low, high) for v in spread(value, names, what)])


def spread(value: Any, names: list[str], what: str) -> list[Any]:
    """One value for each name, from one for all or a sequence in the order of the names."""
    if isinstance(value, pd.Series):
        check_order(value.index, names, what)
    values = np.asarray(value, dtype=object)
    if values.ndim == 0:
        return [values.item()] * len(names)
    if len(values) != len(names):
        raise InputError(f"{what} has {len(values)} values; give one, or {len(names)}.")
    return list(values)


def check_order(labels: pd.Index, names: list[str], what: str) -> None:
    """Refuse labels that are not exactly these names: they would be silently reordered."""
    if list(labels) != names:
        raise InputError(f"{what} are labelled {list(labels)}; label them {names}, in this order.")


def causal_count(value: Any, available: int, what: str) -> int:
    """Number of causal markers from a whole number or a fraction of those available."""
    number = check_number(value, what)
    if isinstance(value, numbers.Integral):
        if 1 <= number <= available:
            return int(number)
    elif 0 < number <= 1:
        return max(1, round(number * available))
    raise InputError(
        f"{what} is {value}; give a whole number from 1 to {available}, the markers that may have "
        "an effect, or a fraction of them as in 0.1."
    )


def check_shares(network_r2: float, direct_r2: float) -> None:
    """Refuse shares of variance outside 0..1, or of more than all of it."""
    check_number(network_r2, "network_r2", 0, 1)
    check_number(direct_r2, "direct_r2", 0, 1)
    if network_r2 + direct_r2 > 1 + 1e-12:  # 0.7 + 0.3 and the like may round above 1
        raise InputError(
            f"network_r2 {network_r2} and direct_r2 {direct_r2} sum to more than 1; lower one."
        )


def check_missing(missing: Any, *fractions: float) -> None:
    """Refuse an unknown missing pattern, and fractions that hide everything."""
    if missing not in MISSING:
        raise InputError(f"missing is {missing!r}; give one of {', '.join(map(repr, MISSING))}.")
    for value, what in zip(fractions, ("missing_fraction", "phenotype_missing"), strict=True):
        if check_number(value, what, 0, 1) == 1:
            raise InputError(f"{what} is 1; give a fraction below 1.")


def random_streams(seed: Any, count: int) -> list[np.random.Generator]:
    """Independent generators from one seed."""
    try:
        return np.random.default_rng(seed).spawn(count)
    except (TypeError, ValueError) as error:
        raise InputError(f"random_seed is {seed!r}; give a whole number or None.") from error


def weight_table(weights: Any, omics: list[str], traits: list[str]) -> Array:
    """The user's weights as (omic, trait)."""
    if isinstance(weights, pd.DataFrame):
        check_order(weights.columns, traits, "columns of weights")
        columns = [weights[trait] for trait in traits]
    elif len(traits) == 1 and np.asarray(weights, dtype=object).ndim < 2:
        columns = [weights]
    else:
        table = np.asarray(weights, dtype=object)
        if table.shape != (len(omics), len(traits)):
            raise InputError(
                f"weights have shape {table.shape}; give one row for each of {len(omics)} omics "
                f"and one column for each of {len(traits)} traits."
            )
        columns = list(table.T)
    return np.column_stack([check_numbers(column, omics, "weights") for column in columns])


def connected_markers(
    connections: Any, omics: list[str], markers: list[str]
) -> list[NDArray[np.int64]]:
    """Column numbers of the markers that may act on each omic."""
    everywhere = np.arange(len(markers))
    if connections is None:
        return [everywhere] * len(omics)
    if not isinstance(connections, Mapping):
        n_sets = check_count(connections, "connections", 1)
        if n_sets > len(markers):
            raise InputError(f"connections is {n_sets}, more sets than the {len(markers)} markers.")
        sets = np.array_split(everywhere, n_sets)
        return [sets[k % n_sets] for k in range(len(omics))]
    if set(connections) != set(omics):
        raise InputError(
            f"connections are for {list(connections)}; give one entry for each of "
            f"{', '.join(omics)}."
        )
    index = pd.Index(markers)
    parents = []
    for omic in omics:
        names = pd.Index(np.atleast_1d(np.asarray(connections[omic], dtype=object)))
        rows = index.get_indexer(names)
        if names.size == 0 or (rows < 0).any():
            wrong = f"unknown marker {names[rows < 0][0]!r}" if names.size else "no marker"
            raise InputError(
                f"connections of {omic} name {wrong}; use names from snp1 to {markers[-1]}."
            )
        parents.append(np.unique(rows))
    return parents

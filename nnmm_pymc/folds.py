"""Folds of individuals: at random, by group, or from a splitter of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from nnmm_pymc.data.names import clean_names, some
from nnmm_pymc.errors import InputError

__all__ = ["split_folds"]

Fold = tuple[pd.Index, pd.Index]


def split_folds(
    cv: Any,
    phenotypes: pd.DataFrame,
    groups: pd.Series | Mapping[str, Any] | None,
    random_seed: int | None,
) -> list[Fold]:
    """Individuals of training and test, fold by fold.

    Parameters
    ----------
    cv : int or splitter
        As in `nnmm_pymc.cross_validate`, like `groups`.
    phenotypes : DataFrame
        Traits of the individuals that are split.
    groups : Series or mapping, optional
    random_seed : int, optional
        Of a number of folds.

    Raises
    ------
    InputError
        If there cannot be so many folds, one has fewer than two phenotypes of a trait, an
        individual has no group, or the splitter refuses.
    """
    individuals = phenotypes.index
    labels = None if groups is None else _labels(groups, individuals)
    if isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        numbers = _random_folds(int(cv), len(individuals), labels, random_seed)
        folds = [(np.flatnonzero(numbers != k), np.flatnonzero(numbers == k)) for k in range(cv)]
    elif callable(getattr(cv, "split", None)):
        y = phenotypes.to_numpy()
        try:
            folds = list(cv.split(y, y[:, 0] if y.shape[1] == 1 else y, labels))
        except (TypeError, ValueError) as error:
            raise InputError(f"cv={cv!r} cannot split the individuals: {error}") from None
    else:
        raise InputError(
            f"cv={cv!r} is neither a number of folds nor has it a method split(X, y, groups)."
        )
    for k, (train, test) in enumerate(folds, start=1):
        _check_fold(k, train, test, phenotypes)
    return [(individuals[train], individuals[test]) for train, test in folds]


def _check_fold(k: int, train: np.ndarray, test: np.ndarray, phenotypes: pd.DataFrame) -> None:
    shared = np.intersect1d(train, test)
    if len(shared):
        raise InputError(
            f"Fold {k} has individual {phenotypes.index[shared[0]]!r} in training and test; a "
            "splitter must keep them apart."
        )
    for trait, count in phenotypes.iloc[test].notna().sum().items():
        if count < 2:
            raise InputError(
                f"Fold {k} holds out {count} phenotypes of {trait!r}, and a score needs two; take "
                "fewer folds or larger groups."
            )


def _labels(groups: Any, individuals: pd.Index) -> np.ndarray:
    """Group of each individual."""
    if not isinstance(groups, pd.Series | Mapping):
        raise InputError(
            f"groups is a {type(groups).__name__}; give a Series or mapping from the names of "
            "individuals to their groups."
        )
    labels = pd.Series(groups)
    labels.index = clean_names(labels.index, "groups")
    labels = labels.reindex(individuals)
    absent = individuals[labels.isna()]
    if len(absent):
        raise InputError(
            f"groups has none for {len(absent)} of {len(individuals)} individuals with phenotypes "
            f"({some(absent)}); give each its group."
        )
    return labels.to_numpy()


def _random_folds(k: int, n: int, labels: np.ndarray | None, random_seed: int | None) -> np.ndarray:
    """Fold of each individual: of about equal size, groups as a whole."""
    codes = np.arange(n) if labels is None else pd.factorize(labels)[0]
    sizes = np.bincount(codes)
    if not 2 <= k <= len(sizes):
        what = "individuals with phenotypes" if labels is None else "groups"
        raise InputError(f"cv={k} must be between 2 and the {len(sizes)} {what}.")
    order = np.random.default_rng(random_seed).permutation(len(sizes))
    fold, filled = np.empty(len(sizes), int), np.zeros(k, int)
    # The largest groups first, each to the fold that is smallest by then.
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        fold[group] = filled.argmin()
        filled[fold[group]] += sizes[group]
    return fold[codes]

"""Liabilities of a model: Gaussian values of which records only say where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pymc as pm
from scipy.special import log_ndtr, ndtri_exp

__all__ = ["Liability", "liabilities_of", "register_liability", "truncated_normal"]

Point = dict[str, np.ndarray]

_LIABILITIES: WeakKeyDictionary[pm.Model, list[Liability]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Liability:
    """Liabilities of some cells and what their records say of them.

    Attributes
    ----------
    name : str
        Value variable.
    lower, upper : (cell,) arrays
        Bounds; of ordinal records those that do not depend on unknown cutpoints.
    codes : (cell,) array of int, optional
        Category of each cell.
    gaps : str, optional
        Value variable (logarithms) of the differences of the cutpoints.
    count : bool
        Whether the record is a count, so that the liability is not between bounds.
    """

    name: str
    lower: np.ndarray
    upper: np.ndarray
    codes: np.ndarray | None = None
    gaps: str | None = None
    count: bool = False

    def bounds(self, point: Point) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of every cell."""
        if self.gaps is None:
            return self.lower, self.upper
        return self.between(np.exp(point[self.gaps]))

    def between(self, gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of every cell, given the differences of the cutpoints."""
        assert self.codes is not None
        cuts = np.concatenate([[-np.inf, 0.0], np.cumsum(gaps), [np.inf]])
        return cuts[self.codes], cuts[self.codes + 1]

    def settle(self, point: Point, rng: np.random.Generator) -> None:
        """Put liabilities of a prior draw between their bounds, in place."""
        lower, upper = self.bounds(point)
        inside = truncated_normal(np.zeros(lower.shape), 1.0, lower, upper, rng.random(lower.shape))
        value = point[self.name]
        point[self.name] = np.where((value > lower) & (value <= upper), value, inside)


def register_liability(model: pm.Model, liability: Liability) -> None:
    """Say that a variable of a model holds liabilities, so that they are drawn as such."""
    _LIABILITIES.setdefault(model, []).append(liability)


def liabilities_of(model: pm.Model) -> list[Liability]:
    """Liabilities of a model."""
    return _LIABILITIES.get(model, [])


def truncated_normal(
    mean: np.ndarray, sd: Any, lower: np.ndarray, upper: np.ndarray, uniform: np.ndarray
) -> np.ndarray:
    """Normal between bounds from a uniform number each; exact far out in the tails too."""
    low, high = (lower - mean) / sd, (upper - mean) / sd
    # In the lower tail distribution functions keep their digits.
    mirrored = low > 0
    low, high = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
    with np.errstate(divide="ignore"):
        log_share = np.logaddexp(
            log_ndtr(low) + np.log1p(-uniform), log_ndtr(high) + np.log(uniform)
        )
    z = np.clip(ndtri_exp(np.minimum(log_share, -1e-300)), low, high)
    return mean + sd * np.where(mirrored, -z, z)

"""Probabilities of patterns of joint marker effects, from the number of markers in each pattern."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nnmm_pymc.joint_effects import pattern_codes, patterns_of
from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point
from nnmm_pymc.steps.families import Conjugate, Eta, derivatives, natural_parameters, nodes

__all__ = ["PatternCounts", "find_pattern_counts"]


@dataclass(frozen=True, eq=False)
class PatternCounts:
    """Natural parameters of the probabilities of all patterns.

    Attributes
    ----------
    effects : str
        The joint effects.
    prior : (D,) array
        Natural parameters of the prior.
    place : (2^T,) array of int
        Which pattern each set of traits is, as a binary number with the first trait last.
    """

    effects: str
    prior: np.ndarray
    place: np.ndarray

    def parameters(self, point: Point) -> Eta:
        """Natural parameters at a point."""
        effects = point[self.effects]
        code = pattern_codes(effects != 0.0)
        return {0: self.prior + np.bincount(self.place[code], minlength=len(self.prior))}


def find_pattern_counts(conditional: ConditionalModel, c: Conjugate) -> PatternCounts | None:
    """Counts that give the natural parameters of a variable, if they do at every check point."""
    own = conditional.rvs[c.value]
    names = conditional.factors_of(conditional.values[c.value])
    effects = [name for name in conditional.joint_effects if name in names]
    if c.family != "simplex" or len(effects) != 1 or {*names} != {own.name, *effects}:
        return None
    rv: Any = conditional.rvs[effects[0]]
    patterns = patterns_of(rv)
    if np.shape(conditional.check_points[0][c.value]) != (len(patterns) - 1,):
        return None
    place = np.zeros(2 ** patterns.shape[1], int)
    place[pattern_codes(patterns)] = np.arange(len(patterns))
    gradients, natural = derivatives(conditional, c.value)
    function = conditional.compile(gradients, leading=[natural], mode=QUICK_MODE)
    position = names.index(own.name)
    found = None
    for point in conditional.check_points:
        conditional.refresh(point)
        at = nodes(c, point[c.value])
        values = [function(point, v) for v in at]
        wanted, _ = natural_parameters(c, at, [np.sum(v, axis=0) for v in values])
        if found is None:
            prior, _ = natural_parameters(c, at, [v[position] for v in values])
            found = PatternCounts(effects[0], prior[0], place)
        if not np.allclose(found.parameters(point)[0], wanted[0], rtol=1e-7, atol=1e-6):
            return None
    return found

"""Which two variances trade: those of relatives and of what is hard to tell from them."""

from __future__ import annotations

import numpy as np

from nnmm_pymc.steps.conditional import ConditionalModel, Point
from nnmm_pymc.steps.random_effects import RandomEffectGibbs
from nnmm_pymc.steps.scale import log_prior
from nnmm_pymc.steps.trade import NESTED, OUTER, RECORDS, Share, Trade

__all__ = ["find_trade"]

# Width of the slice of a trade: so many over the root of the number of levels, but no more than.
WIDTH, WIDEST = 40.0, 4.0
# Draws of the effects that say how much they vary between those with records.
UNIT_DRAWS = 20


def find_trade(
    conditional: ConditionalModel, outer: RandomEffectGibbs, inner: RandomEffectGibbs | None
) -> Trade | None:
    """The trade of the variance of a term with that of the nested one, or of the records.

    None if one of them is fixed or stands elsewhere, or has another shape.
    """
    points = conditional.check_points
    conditional.refresh(points[0])
    one = _of_term(outer, points[0], OUTER, _unit(outer))
    if inner is None:
        other = _of_records(conditional, outer)
    else:
        other = _of_term(inner, points[0], NESTED, 1.0)
    if one is None or other is None or one.unit.shape != other.unit.shape:
        return None
    recorded = len(np.unique(outer.term.levels.index))
    return Trade(one, other, min(WIDEST, WIDTH / np.sqrt(recorded)))


def _of_term(step: RandomEffectGibbs, point: Point, role: int, worth: float) -> Share | None:
    """Share of the variance of a term, of which one unit is worth so much among the records."""
    if step.scale is None:
        return None
    name = step.scale.variance
    unit = _per_unit(worth * step.variance(point)[0].mean(axis=0), point[name])
    return Share(name, role, unit, step.scale.log_prior)


def _of_records(conditional: ConditionalModel, step: RandomEffectGibbs) -> Share | None:
    name = _residual_variance(conditional, step)
    if name is None:
        return None
    point = conditional.check_points[0]
    conditional.refresh(point)
    spread = np.array([np.mean(1.0 / w[w > 0]) for w in step.cells(point)[1].T])
    return Share(name, RECORDS, _per_unit(spread, point[name]), log_prior(conditional, name))


def _per_unit(variance: np.ndarray, log_variance: np.ndarray) -> np.ndarray:
    """Variance of each response for one unit of a variable, in the shape of the variable."""
    relative = variance / np.ravel(np.exp(log_variance))
    own = relative.mean() if np.size(log_variance) == 1 else relative
    return np.reshape(own, np.shape(log_variance))


def _unit(step: RandomEffectGibbs) -> float:
    """Variance between those with records of effects whose variance is one."""
    levels = step.term.levels
    recorded = np.unique(levels.index[levels.index >= 0])
    rng = np.random.default_rng(0)
    assert step.precision is not None
    draws = step.precision.coloured(rng.standard_normal((levels.n_levels, UNIT_DRAWS)))
    return float(draws[recorded].var(axis=0).mean())


def _residual_variance(conditional: ConditionalModel, step: RandomEffectGibbs) -> str | None:
    """The variance to which those of all records are in proportion, if nothing else knows it."""
    factors = set(conditional.factors_of(step.term.held))
    for value, rv in conditional.rvs.items():
        own = set(conditional.factors_of(conditional.values[value]))
        if value.endswith("_log__") and own == {rv.name, *factors}:
            if all(_scales_records(conditional, step, value, p) for p in conditional.check_points):
                return value
    return None


def _scales_records(
    conditional: ConditionalModel, step: RandomEffectGibbs, value: str, point: Point
) -> bool:
    conditional.refresh(point)
    residual, weight = step.cells(point)
    size = np.size(point[value])
    if size not in (1, weight.shape[1]):
        return False
    move = 0.5 + np.arange(size) / (1.0 + size)
    there = point | {value: point[value] + move.reshape(np.shape(point[value]))}
    moved, scaled = step.cells(there)
    same = np.allclose(residual, moved, rtol=1e-9, atol=1e-9 * np.abs(residual).max())
    return bool(same and np.allclose(scaled * np.exp(move), weight, rtol=1e-9, atol=0.0))

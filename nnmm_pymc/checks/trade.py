"""Trades of variances: the density along their line, and where they take the effects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from nnmm_pymc.checks.numbers import Given, standing_in
from nnmm_pymc.checks.random_effects import draws_only
from nnmm_pymc.checks.reference import State
from nnmm_pymc.steps import trade as trade_module
from nnmm_pymc.steps.conditional import Point
from nnmm_pymc.steps.relatives import RelativesGibbs

__all__ = ["trade_misfits"]


class _Shifted:
    """Stands in for `slice_sample`: notes its density, and moves by what it is told to."""

    def __init__(self, shape: tuple[int, ...], element: tuple[int, ...], shift: float):
        self.shift = np.zeros(shape)
        self.shift[element] = shift

    def __call__(self, start: Any, log_density: Callable[..., np.ndarray], *_: Any) -> np.ndarray:
        there = start + self.shift
        self.implied = log_density(there) - log_density(start)
        log_density(there)
        return there


def trade_misfits(step: RelativesGibbs, state: State) -> Iterator[tuple[str, float]]:
    """The density of log odds, nested effects integrated out, with the volume that effects span.

    Integrated out: with them at their conditional mean, times the width of their conditional.
    """
    assert step.trade is not None
    trade, effects = step.trade, step.outer.term.effects
    step.conditional.refresh(state.point)
    collapsed = step.collapsed(state.point)

    def moved(u: np.ndarray, spy: _Shifted) -> Point:
        point = dict(state.point)
        with standing_in(trade_module, "slice_sample", spy):
            new = trade.move(point, collapsed, u.reshape(len(step.own), -1), state.rng)
        return point | {effects: new.reshape(u.shape)}

    start, width = _at_their_mean(step, state.point)
    here = replace(state, point=start)
    u = state.point[effects]
    for element in np.ndindex(trade.one.unit.shape):
        spy = _Shifted(trade.one.unit.shape, element, state.rng.normal(0.0, 0.5))
        there, wide = _at_their_mean(step, moved(u, spy))
        implied = float(spy.implied[element])
        volume = _log_volume(u, partial(moved, spy=spy), effects)
        names = [*(v.name for v in step.vars), *trade.variances]
        change = here.change({name: there[name] for name in names})
        misfit = replace(change, value=change.value + volume + wide - width).misfit(implied)
        yield from ((name, misfit) for name in trade.variances)


def _at_their_mean(step: RelativesGibbs, point: Point) -> tuple[Point, float]:
    """Nested effects at the mean of their conditional, and the log width of that."""
    if step.inner is None:
        return point, 0.0
    name, inner = step.inner.term.effects, step.inner
    found = []
    for number in (0.0, 1.0):
        noise = np.full((inner.term.levels.n_levels, 1), number)
        with draws_only(step), standing_in(inner, "rng", Given(normals=[noise])):
            found.append(inner.step(point)[0][name])
    return point | {name: found[0]}, float(np.log(found[1] - found[0]).sum())


def _log_volume(u: np.ndarray, moved: Callable[[np.ndarray], Point], effects: str) -> float:
    """Log determinant of an affine map of effects, from what it does to unit vectors."""
    start = moved(u)[effects]
    units = np.eye(u.size).reshape(u.size, *u.shape)
    columns = [(moved(u + unit)[effects] - start).ravel() for unit in units]
    return float(np.linalg.slogdet(columns)[1])

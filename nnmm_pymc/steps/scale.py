r"""Joint move of a slab variance and the effects that it scales.

Given their variance the effects are as large as it says, and given the effects the variance is as
large as they are, so drawing one after the other is slow where many small effects carry the signal.
In the non-centred parametrisation :math:`a = \sqrt{v}\,u` with u held, v has the density

.. math:: p(v)\, L(\sqrt{v}\, X u)

and a draw from it moves variance, effects and genetic values together (interweaving: Yu & Meng
2011, J Comput Graph Stat 20:531). With g the genetic value at the current v and r the residual,
scaling by c changes the log likelihood by :math:`(c-1) B - (c-1)^2 A / 2`, with
:math:`A = \tau g'g, B = \tau g'r`. The draw is by slice sampling in log v (Neal 2003, Ann Stat
31:705).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnmm_pymc.kernels.scale import draw_scale
from nnmm_pymc.kernels.slice import slice_sample
from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point, PointFunction
from nnmm_pymc.steps.families import conjugate_family
from nnmm_pymc.steps.random_statistics import effect_variances, find_random_statistics
from nnmm_pymc.steps.statistics import find_statistics

__all__ = ["ScaleMove", "find_scale", "log_prior"]


class ScaleMove:
    """Draw of log v given the scaled-out effects, for one value a response or one for all.

    Parameters
    ----------
    conditional : ConditionalModel
    variance : str
        Value variable (log v) of the slab variance.
    """

    def __init__(self, conditional: ConditionalModel, variance: str):
        self.variance = variance
        self.shape = conditional.check_points[0][variance].shape
        conjugate = conjugate_family(conditional, variance)
        known = None
        if conjugate is not None:
            known = find_statistics(conditional, conjugate) or find_random_statistics(
                conditional, conjugate
            )
        self.known = None if known is None else known.prior
        if self.known is not None:
            prior = [self.known.get(m, 0.0) for m in (0, 1)]
            self.flat = [np.broadcast_to(v, self.shape).flatten() for v in prior]
        self._read_prior = log_prior(conditional, variance)

    def log_prior(self, point: Point, at: np.ndarray) -> np.ndarray:
        """Prior density of the variance, by its elements, at another log v; but for a constant."""
        if self.known is None:
            return self._read_prior(point, at)
        exponent, rate, falling = (self.known.get(m, 0.0) for m in (0, 1, 2))
        return exponent * at - 0.5 * (rate * np.exp(-at) + falling * np.exp(at))

    def draw(
        self, point: Point, quadratic: np.ndarray, linear: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """New log v, in the shape of the variable.

        Parameters
        ----------
        point : dict
        quadratic, linear : (K,) arrays
            A and B of the module's formula for every response.
        """
        start = np.asarray(point[self.variance])
        if start.size == 1:
            quadratic, linear = quadratic.sum(), linear.sum()
        quadratic = np.reshape(quadratic, self.shape)
        linear = np.reshape(linear, self.shape)
        if self.known is not None:
            if 2 in self.known:
                # exp(-psi v / 2) of the prior is quadratic in the factor too: v = v_0 (1 + away)^2.
                falling = self.known[2] * np.exp(start)
                linear, quadratic = linear - falling, quadratic + falling
            flat = [start.ravel(), *self.flat, linear.ravel(), quadratic.ravel()]
            return draw_scale(rng, *flat).reshape(self.shape)

        def log_density(log_variance: np.ndarray) -> np.ndarray:
            away = np.expm1(0.5 * (log_variance - start))
            prior = self.log_prior(point, log_variance) + log_variance
            return prior + away * linear - 0.5 * away**2 * quadratic

        return slice_sample(start, log_density, rng)

    @property
    def responses(self) -> list[int]:
        """Which have a variance of their own: all, or none."""
        size = int(np.prod(self.shape))
        return list(range(size)) if size > 1 else []

    def move_one(
        self, point: Point, response: int, slopes: tuple[float, float], rng: np.random.Generator
    ) -> float:
        """`move` of the variance of one response, the others held, by A and B of its own.

        What is drawn for the others beside it is put aside: they are independent given the rest.
        """
        start = np.array(point[self.variance])
        quadratic, linear = (np.full(self.shape, value) for value in slopes)
        drawn = self.draw(point, quadratic, linear, rng)
        new = start.copy()
        new.flat[response] = drawn.flat[response]
        point[self.variance] = new
        return float(np.exp(0.5 * (new.flat[response] - start.flat[response])))

    def move(
        self, point: Point, quadratic: np.ndarray, linear: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Put a draw into the point, in place; returns the factor of the effects."""
        log_variance = self.draw(point, quadratic, linear, rng)
        factor = np.exp(0.5 * (log_variance - point[self.variance]))
        point[self.variance] = log_variance
        return factor


def log_prior(
    conditional: ConditionalModel, variance: str
) -> Callable[[Point, np.ndarray], np.ndarray]:
    """Prior density of a variance, by its elements, at a point and at another log v."""
    prior = conditional.factors[conditional.rvs[variance].name]
    value = conditional.values[variance].type("log_variance")
    read = conditional.compile([conditional.in_value(prior, variance, value)], leading=[value])
    return lambda point, at: read(point, at)[0]


def find_scale(conditional: ConditionalModel, effects: str) -> ScaleMove | None:
    """The variance that scales all effects of a response, of markers or random, if there is one.

    It must stand in no other density than its own and that of the effects, have one value for each
    response or one for all, and scale the variances of the effects in proportion.
    """
    if effects in conditional.effects:
        factor = conditional.effect_factors(effects)[1]
        parameters = conditional.effect_parameters(effects)
    else:
        factor, parameters = effects, [effect_variances(conditional, effects)[..., None]]
    read = conditional.compile(parameters, mode=QUICK_MODE)
    n_responses = conditional.check_points[0][effects].shape[1:]
    for value, variable in conditional.rvs.items():
        if set(conditional.factors_of(conditional.values[value])) != {variable.name, factor}:
            continue
        if conditional.check_points[0][value].shape not in ((), n_responses):
            continue
        if value.endswith("_log__") and _in_proportion(conditional, read, value):
            return ScaleMove(conditional, value)
    return None


def _in_proportion(conditional: ConditionalModel, read: PointFunction, value: str) -> bool:
    """Whether the last of some parameters grows as a variance does, and the others stay."""
    for point in conditional.check_points:
        # A step of its own for each element: whose variance scales what must be told apart.
        shape = point[value].shape
        step = 0.5 + np.arange(point[value].size).reshape(shape) / (1 + point[value].size)
        *before, variances = read(point)
        *after, moved = read(point | {value: point[value] + step})
        wanted = variances * np.exp(step)[..., None]
        same = all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        if not same or wanted.shape != moved.shape:
            return False
        if not np.allclose(moved, wanted, rtol=1e-9, atol=0.0):
            return False
    return True

"""`ConjugateGibbs`: exact draws of variances, probabilities and mixture weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.replace import graph_replace
from scipy.special import logit

from nnmm_pymc.errors import InputError
from nnmm_pymc.steps.conditional import ConditionalModel, Point
from nnmm_pymc.steps.families import Conjugate, Eta, derivatives, n_nodes, natural_parameters, nodes
from nnmm_pymc.steps.gibbs import GibbsStep
from nnmm_pymc.steps.normals import find_normal_statistics
from nnmm_pymc.steps.pattern_counts import find_pattern_counts
from nnmm_pymc.steps.random_statistics import find_random_statistics
from nnmm_pymc.steps.statistics import find_statistics

__all__ = ["ConjugateGibbs"]

# Of a derivative far from where a conditional has its mass.
MOST_ROUNDS = 100
# The unit of parameters that are read and not taken from derivatives.
ONE = np.ones(())
# On the log scale. Where a prior has such tails (few degrees of freedom) its far end is held.
FARTHEST = 300.0


class ConjugateGibbs(GibbsStep):
    """Exact draws of variances, probabilities and mixture weights from their full conditionals.

    Parameters
    ----------
    vars : list of variable
        Variables of which no two share a factor of the density; they are drawn together.
    conjugates : list of Conjugate
        What `conjugate_family` found for each.
    model, conditional
        As in `MarkerGibbs`.
    """

    name = "conjugate_gibbs"

    def __init__(
        self,
        vars,
        *,
        conjugates: Sequence[Conjugate],
        conditional: ConditionalModel,
        **kwargs: Any,
    ):
        super().__init__(vars, conditional=conditional, **kwargs)
        self.conjugates = tuple(conjugates)
        self.known = [
            find_statistics(conditional, c)
            or find_pattern_counts(conditional, c)
            or find_random_statistics(conditional, c)
            or find_normal_statistics(conditional, c)
            for c in self.conjugates
        ]
        outputs: list[Any] = []
        leading: list[Any] = []
        for c, known in zip(self.conjugates, self.known, strict=True):
            if known is None:
                gradients, natural = derivatives(conditional, c.value)
                gradient = pt.sum(gradients, axis=0)
                at = [natural.type(f"{c.value}_{m}") for m in range(n_nodes(c))]
                leading += at
                outputs += [graph_replace(gradient, {natural: v}, strict=False) for v in at]
        self.read = conditional.compile(outputs, leading=leading) if outputs else None

    def parameters(self, point: Point) -> list[tuple[Eta, np.ndarray]]:
        """Natural parameters of every variable's conditional, and the unit in which they are."""
        if self.read is None:
            return [(known.parameters(point), ONE) for known in self.known if known is not None]
        shifts = [np.zeros(())] * len(self.conjugates)
        for _ in range(MOST_ROUNDS):
            found = self._parameters(point, shifts)
            moves = [
                np.zeros(()) if known is not None else _recentred(c, eta)
                for c, (eta, _), known in zip(self.conjugates, found, self.known, strict=True)
            ]
            if not any(np.any(move) for move in moves):
                break
            shifts = [shift + move for shift, move in zip(shifts, moves, strict=True)]
        return found

    def _parameters(self, point: Point, shifts: list[np.ndarray]) -> list[tuple[Eta, np.ndarray]]:
        """The same with derivatives taken beside the current values, on the log scale."""
        places = [
            nodes(c, point[c.value] + shift) if known is None else []
            for c, known, shift in zip(self.conjugates, self.known, shifts, strict=True)
        ]
        leading = [v for group in places for v in group]
        assert self.read is not None
        gradients = iter(self.read(point, *leading))
        return [
            natural_parameters(c, at, [next(gradients) for _ in at])
            if known is None
            else (known.parameters(point), ONE)
            for c, known, at in zip(self.conjugates, self.known, places, strict=True)
        ]

    def step(self, point):
        self.conditional.refresh(point)
        found = self.parameters(point)
        point = point.copy()
        for c, (eta, unit) in zip(self.conjugates, found, strict=True):
            point[c.value] = _draw(c, eta, unit, self.rng)
        return point, [{}]


def _draw(c: Conjugate, eta: Eta, unit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw from the full conditional and return it on the scale of the value variable."""
    if c.family == "simplex":
        _proper(c, eta[0] > -1)
        draw = rng.standard_gamma(eta[0] + 1.0)
        draw = np.maximum(draw / draw.sum(axis=-1, keepdims=True), 1e-300)
        log_draw = np.log(draw)
        # PyMC's simplex transform: the last log ratio is dropped after centring by the mean.
        return log_draw[..., :-1] - log_draw.mean(axis=-1, keepdims=True)
    if c.family == "probability":
        _proper(c, (eta[0] > -1) & (eta[1] > -1))
        draw = rng.beta(eta[0] + 1.0, eta[1] + 1.0)
        return np.asarray(logit(np.minimum(np.maximum(draw, 1e-300), 1.0 - 1e-16)))
    drawn = _log_draw_positive(c, eta, rng)
    if unit is not ONE:
        drawn = np.log(unit) + drawn
    return np.asarray(np.minimum(np.maximum(drawn, -FARTHEST), FARTHEST))


def _recentred(c: Conjugate, eta: Eta) -> np.ndarray:
    """How far, on the log scale, derivatives must be taken from here so that none is lost.

    Natural parameters do not depend on where the derivative is taken, but far in the tail of the
    conditional one of them is lost in the rounding of the other.
    """
    if c.family != "positive" or c.exponent is not None or len(c.statistics) != 2:
        return np.zeros(())
    ratio = eta[c.statistics[1]] / np.maximum(np.abs(eta[0]), 1e-300)
    towards = -1.0 if c.statistics == (0, 1) else 1.0
    far = np.log(np.maximum(ratio, 1.0))
    return np.where(ratio < 1e-6, towards * np.log(1e6), np.where(ratio > 1e6, -towards * far, 0.0))


def _log_gamma(shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Logarithm of gamma draws; those of a small shape are too small to be numbers themselves."""
    small = shape < 0.1
    if not small.any():
        return np.log(rng.standard_gamma(shape))
    # G(a) = G(a + 1) U^(1 / a) (Marsaglia & Tsang 2000, ACM TOMS 26:363).
    drawn = np.log(rng.standard_gamma(np.where(small, shape + 1.0, shape)))
    return drawn + np.where(small, np.log(rng.random(np.shape(shape))) / shape, 0.0)


def _log_draw_positive(c: Conjugate, eta: Eta, rng) -> np.ndarray:
    """Draw log v, v from v^eta_0 exp(-eta_1 / (2v) - eta_2 v / 2), v in units of `eta`."""
    shape = eta[0] + 1.0
    if c.statistics == (0, 1):
        _proper(c, (shape < 0) & (eta[1] > 0))
        return np.log(0.5 * eta[1]) - _log_gamma(-shape, rng)
    if c.statistics == (0, 2):
        _proper(c, (shape > 0) & (eta[2] > 0))
        return _log_gamma(shape, rng) - np.log(0.5 * eta[2])
    chi, psi = np.maximum(eta[1], 1e-290), eta[2]
    _proper(c, psi > 0)
    # Without the term in 1/v the conditional is a gamma; the general sampler fails near there.
    gamma = (shape > 0) & (chi * psi < 1e-14)
    if np.any(gamma):
        draw = _log_gamma(np.where(gamma, shape, 1.0), rng) - np.log(0.5 * psi)
        rest = _log_draw_positive(c, {0: eta[0], 1: np.where(gamma, 1.0, chi), 2: psi}, rng)
        return np.where(gamma, draw, rest)
    if np.allclose(shape, 0.5, rtol=0, atol=1e-9):
        # 1/v is inverse Gaussian with mean sqrt(psi/chi) and shape psi.
        return -np.log(rng.wald(np.sqrt(psi / chi), psi))
    drawn = draw_geninvgauss(shape, np.sqrt(chi * psi), rng)
    return 0.5 * np.log(chi / psi) + np.log(drawn)


def draw_geninvgauss(shape: np.ndarray, rate: np.ndarray, rng: Any) -> np.ndarray:
    """Draw from the generalised inverse Gaussian, as `scipy.stats.geninvgauss` has it."""
    from scipy.stats import geninvgauss  # Slow to import.

    return geninvgauss.rvs(shape, rate, random_state=rng)


def _proper(c: Conjugate, ok: np.ndarray) -> None:
    if not ok.all():
        raise InputError(
            f"The full conditional of {c.value!r} ({c.describe()}) is improper; give the variable "
            "a proper prior."
        )

r"""Random effects on traits whose residuals correlate, or which correlate themselves.

With the residuals e of an individual and their precision matrix :math:`\Omega`, the log density is
quadratic in what the level of the individual adds to trait t, with the gradient
:math:`(\Omega e)_t` and second derivative :math:`-\Omega_{tt}`. So given the effects on the other
traits those on trait t are drawn as `RandomEffectGibbs` draws them, with

.. math:: D = Z' \mathrm{diag}(\Omega_{tt}) Z, \qquad P\, E[u_t] = Z' (\Omega e)_t + D u_t

and trait follows trait (Sorensen & Gianola 2002, Likelihood, Bayesian and MCMC Methods in
Quantitative Genetics, section 13.3.2). Effects of which those of a level have the covariance G, K
its inverse, have given the other traits' the precision :math:`K_{tt} Q` and the linear coefficient
:math:`-Q \sum_{s \ne t} K_{ts} u_s`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnmm_pymc.steps.conditional import Point
from nnmm_pymc.steps.correlated import find_correlated
from nnmm_pymc.steps.joint_scale import find_joint_scale
from nnmm_pymc.steps.random_effects import RandomEffectGibbs

__all__ = ["CoupledRandomEffectGibbs", "JointRandomEffectGibbs"]


class CoupledRandomEffectGibbs(RandomEffectGibbs):
    """Exact draws of the effects of a random term on one trait after the other.

    Parameters
    ----------
    vars, model, conditional
        As in `RandomEffectGibbs`.

    Raises
    ------
    InputError
        If the likelihood is not Gaussian with one covariance matrix of the traits.
    """

    name = "coupled_random_effect_gibbs"

    def _find_cells(self) -> Any:
        return find_correlated(self.conditional, self.term, np.float64)

    def step(self, point):
        self.conditional.refresh(point)
        point = point.copy()
        for trait in range(self.cells.shape[0]):
            self.draw_trait(point, trait)
        self.move_scale(point)
        self.put(point, self.shifted(point, self.matrix_of(point)))
        return point, [{}]

    def draw_trait(self, point: Point, trait: int) -> None:
        """Draw the effects on one trait given all else, in place."""
        weight, _, pull = self._slopes(point)
        own, effects = [trait], np.array(point[self.term.effects])
        diagonal, linear = self.summed(effects[:, own], weight[:, own], pull[:, own])
        variance, given = self._given_others(point, trait, effects)
        effects[:, own] = self.drawn(diagonal, linear + given, variance, effects[:, own])
        self.put(point, effects)

    def _given_others(self, point: Point, trait: int, effects: np.ndarray) -> tuple[Any, Any]:
        """Variance, (level, 1), and linear coefficient of the prior given the other traits."""
        return self.variance(point)[0][:, [trait]], 0.0

    def _slopes(self, point: Point) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Omega_tt, Omega and (Omega e)_t of every individual."""
        residual, omega = self.cells(point)
        own = omega[self.cells.group]
        return np.einsum("itt->it", own), own, np.einsum("its,si->it", own, residual)

    def move_scale(self, point: Point) -> None:
        """The move of effects with the variance that scales them, in place."""
        if self.scale is None:
            return
        for trait in self.scale.responses:
            weight, _, pull = self._slopes(point)
            added, effects = self.term.held.get_value()[:, trait], np.array(self.matrix_of(point))
            slopes = float(added**2 @ weight[:, trait]), float(added @ pull[:, trait])
            effects[:, trait] *= self.scale.move_one(point, trait, slopes, self.rng)
            self.put(point, effects)
        if not self.scale.responses:
            _, omega, pull = self._slopes(point)
            added = self.term.held.get_value()
            quadratic = np.einsum("it,its,is->t", added, omega, added)
            factor = self.scale.move(point, quadratic, np.sum(added * pull, axis=0), self.rng)
            self.put(point, self.matrix_of(point) * factor)


class JointRandomEffectGibbs(CoupledRandomEffectGibbs):
    """Exact draws of `JointRandomEffects` on one trait after the other.

    Parameters
    ----------
    vars, model, conditional
        As in `RandomEffectGibbs`.

    Attributes
    ----------
    scale : JointScale, optional
    """

    name = "joint_random_effect_gibbs"

    def _read_prior(self, name: str) -> None:
        conditional = self.conditional
        inputs = [conditional.rvs[name].owner.inputs[2]]
        self.covariance = conditional.compile(conditional.conditional.replace_rvs_by_values(inputs))
        self.scale = find_joint_scale(conditional, name)

    def read(self, point: Point) -> tuple[np.ndarray, np.ndarray]:
        """Residuals and their precision matrices."""
        return self.cells(point)

    def _inverse(self, point: Point) -> np.ndarray:
        return np.linalg.inv(self.covariance(point)[0])

    def _given_others(self, point: Point, trait: int, effects: np.ndarray) -> tuple[Any, Any]:
        inverse = self._inverse(point)
        own = inverse[trait, trait]
        others = effects @ inverse[:, trait] - own * effects[:, trait]
        pull = others if self.precision is None else self.precision.matrix @ others
        return np.full((len(effects), 1), 1.0 / own), -pull[:, None]

    def move_scale(self, point: Point) -> None:
        if self.scale is not None:
            added, group = self.term.held.get_value(), self.cells.group
            factors = self.scale.move(point, added, *self.cells(point), group, self.rng)
            self.put(point, self.matrix_of(point) * factors)

    def shift_step(self, point, draw: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.shift.draw_joint(point, draw, self._inverse(point), rng)

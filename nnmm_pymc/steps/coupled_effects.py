r"""`CoupledRandomEffectGibbs`: random effects on traits whose residuals correlate.

With the residuals e of an individual and their precision matrix :math:`\Omega`, the log density is
quadratic in what the level of the individual adds to trait t, with the gradient
:math:`(\Omega e)_t` and second derivative :math:`-\Omega_{tt}`. So given the effects on the other
traits those on trait t are drawn as `RandomEffectGibbs` draws them, with

.. math:: D = Z' \mathrm{diag}(\Omega_{tt}) Z, \qquad P\, E[u_t] = Z' (\Omega e)_t + D u_t

and trait follows trait (Sorensen & Gianola 2002, Likelihood, Bayesian and MCMC Methods in
Quantitative Genetics, section 13.3.2).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnmm_pymc.steps.conditional import Point
from nnmm_pymc.steps.correlated import find_correlated
from nnmm_pymc.steps.random_effects import RandomEffectGibbs

__all__ = ["CoupledRandomEffectGibbs"]


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
        sums = self.summed(effects[:, own], weight[:, own], pull[:, own])
        effects[:, own] = self.drawn(*sums, self.variance(point)[0][:, own], effects[:, own])
        self.put(point, effects)

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

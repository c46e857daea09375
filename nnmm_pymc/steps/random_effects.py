r"""`RandomEffectGibbs`: the step that draws all effects of a random term at once.

With everything else given, the effects u of one response are normal with the precision

.. math:: P = D + Q / \sigma^2, \qquad P\, E[u] = Z' W r + D u

where Z has one element for each individual, its level's; W are the precisions of the residuals r,
which are those at the current u; and :math:`D = Z' W Z` is diagonal. Independent effects are drawn
one by one, small vectors through a factor of P, others by solving

.. math:: P u = Z' W r + D u_0 + D^{1/2} z_1 + Q a / \sigma, \qquad a \sim N(0, Q^{-1})

whose right side has the covariance P (Papandreou & Yuille 2010, Adv Neural Inf Process Syst 23),
by conjugate gradients. Two moves follow that leave the conditional distributions alone and mix
what is slow to mix: of the effects with the variance that scales them (`nnmm_pymc.steps.scale`) and
with an intercept (`nnmm_pymc.steps.shift`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from nnmm_pymc.errors import InputError
from nnmm_pymc.kernels.sparse import SparseFactor, conjugate_gradients
from nnmm_pymc.steps.gibbs import GibbsStep
from nnmm_pymc.steps.normals import find_cells
from nnmm_pymc.steps.random_statistics import effect_variances
from nnmm_pymc.steps.scale import find_scale
from nnmm_pymc.steps.shift import find_shift
from nnmm_pymc.steps.terms import RandomTerm

__all__ = ["RandomEffectGibbs"]

# Up to so many elements in the factor of P a draw through it is the faster one.
FEW_ELEMENTS = 2_000
# Residual of the conjugate gradients: what is left is far below the Monte Carlo error.
TOLERANCE, MOST_ITERATIONS = 1e-10, 2_000


class RandomEffectGibbs(GibbsStep):
    """Exact draw of all effects of a random term, one response after the other.

    Parameters
    ----------
    vars : list of variable
        The one `RandomEffects` variable to draw.
    model, conditional
        As in `MarkerGibbs`.

    Attributes
    ----------
    direct : bool
        Whether draws go through a factor of P.
    scale : ScaleMove, optional
    shift : ShiftMove, optional

    Raises
    ------
    InputError
        If the likelihood is not Gaussian and independent given the value of the effects.
    """

    name = "random_effect_gibbs"

    def __init__(self, vars, **kwargs: Any):
        super().__init__(vars, **kwargs)
        name = self.vars[0].name
        terms = [t for t in self.conditional.random_terms if t.effects == name]
        if len(self.vars) != 1 or not terms:
            raise InputError("RandomEffectGibbs draws one RandomEffects variable; one for each.")
        self.term: RandomTerm = terms[0]
        cells = self._find_cells()
        if cells is None:
            raise InputError(
                f"The likelihood of {self.conditional.factors_of(self.term.held)} is not Gaussian "
                f"and independent between individuals given {self.term.value!r}, which the Gibbs "
                "update of random effects needs."
            )
        self.cells: Any = cells
        self.precision = self.conditional.rvs[name].owner.op.precision
        self._read_prior(name)
        self.direct = False
        if self.precision is not None:
            self.direct = self._fills_in_little()
            q = self.precision.matrix
            columns = np.repeat(np.arange(q.shape[0]), np.diff(q.indptr))
            self._diagonal = np.flatnonzero(columns == q.indices)
        matrix = None if self.precision is None else self.precision.matrix
        self.shift: Any = find_shift(self.conditional, self.term, matrix)

    def _read_prior(self, name: str) -> None:
        """Reader of the variances of the effects, and the move that scales them."""
        variance = self.conditional.rvs[name].owner.inputs[2]
        if self.precision is not None and variance.ndim == 2 and variance.type.shape[0] != 1:
            raise InputError(
                f"Random effects {name!r} with a precision matrix need one variance for each "
                "response, or one for all; a diagonal of variances belongs into the matrix."
            )
        self.variance = self.conditional.compile([effect_variances(self.conditional, name)])
        self.scale: Any = find_scale(self.conditional, name)

    def _find_cells(self) -> Any:
        """Reader of residuals and precisions at a point, or None."""
        return find_cells(self.conditional, self.term)

    def _fills_in_little(self) -> bool:
        assert self.precision is not None
        if self.precision.n > FEW_ELEMENTS:
            return False
        try:
            return SparseFactor(self.precision.matrix).nnz <= FEW_ELEMENTS
        except np.linalg.LinAlgError:
            raise InputError(
                f"{self.precision.source}: the precision matrix of {self.term.effects!r} is not "
                "positive definite; check how it was made."
            ) from None

    def sums(self, point, residual, weight) -> tuple[np.ndarray, np.ndarray]:
        """D and Z'Wr + D u_0 of the module's formula, (level, response)."""
        return self.summed(self.matrix_of(point), weight, weight * residual)

    def matrix_of(self, point) -> np.ndarray:
        """The effects at a point, (level, response)."""
        return point[self.term.effects].reshape(self.term.levels.n_levels, -1)

    def summed(self, old, weight, pull) -> tuple[np.ndarray, np.ndarray]:
        """`sums` of W and W r, (individual, response), at the effects `old`."""
        levels = self.term.levels
        diagonal, linear = np.empty(old.shape), np.empty(old.shape)
        # Those without a level are counted behind the last one.
        index, length = np.where(levels.index < 0, len(old), levels.index), len(old) + 1
        for c in range(old.shape[1]):
            diagonal[:, c] = np.bincount(index, weight[:, c] * levels.multiplier**2, length)[:-1]
            linear[:, c] = np.bincount(index, pull[:, c] * levels.multiplier, length)[:-1]
        return diagonal, linear + diagonal * old

    def step(self, point):
        self.conditional.refresh(point)
        residual, weight = self.cells(point)
        before, variance = self.term.held.get_value(), self.variance(point)[0]
        draw = self.drawn(*self.sums(point, residual, weight), variance, self.matrix_of(point))
        point = point.copy()
        value = self.put(point, draw)
        self.move(point, residual + (before - value).reshape(residual.shape), weight)
        return point, [{}]

    def put(self, point, draw: np.ndarray) -> np.ndarray:
        """Put effects into a point, in place, and hold their value, which is returned."""
        point[self.term.effects] = new = draw.reshape(point[self.term.effects].shape)
        value = self.term.exact_value(new)
        self.term.hold(new, value)
        return value

    def move(self, point, residual, weight) -> None:
        """The moves with a variance and an intercept, in place."""
        draw = self.matrix_of(point)
        if self.scale is not None:
            added = self.term.held.get_value().reshape(residual.shape)
            quadratic = np.einsum("ik,ik,ik->k", weight, added, added)
            linear = np.einsum("ik,ik,ik->k", weight, added, residual)
            draw = draw * self.scale.move(point, quadratic, linear, self.rng)
        self.put(point, self.shifted(point, draw))

    def shifted(self, point, draw: np.ndarray) -> np.ndarray:
        """Effects after the move with an intercept, which is put into the point."""
        if self.shift is None:
            return draw
        step = self.shift_step(point, draw, self.rng)
        name = self.shift.intercept
        point[name] = point[name] + step.reshape(np.shape(point[name]))
        return draw - step

    def shift_step(self, point, draw: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """c of the move with an intercept, of every response."""
        return self.shift.draw(point, draw, self.variance(point)[0], rng)

    def drawn(self, diagonal, linear, variance, start) -> np.ndarray:
        """Effects, (level, response), given D and Z'Wr + D u_0; solved for from `start`."""
        if self.precision is None:
            own = diagonal + 1.0 / variance
            return (linear + np.sqrt(own) * self.rng.standard_normal(linear.shape)) / own
        draw = np.empty(linear.shape)
        for c in range(linear.shape[1]):
            column = (diagonal[:, c], linear[:, c], variance[0, c], start[:, c])
            draw[:, c] = self._factored(*column) if self.direct else self._solved(*column)
        return draw

    def _factored(self, diagonal, linear, variance, start) -> np.ndarray:
        factor = SparseFactor(self._matrix(diagonal, variance))
        return factor.solve(linear + factor.times(self.rng.standard_normal(len(linear))))

    def _solved(self, diagonal, linear, variance, start) -> np.ndarray:
        q = self.precision.matrix
        white = self.rng.standard_normal(len(linear))
        prior = self.precision.coloured(self.rng.standard_normal((len(linear), 1)))[:, 0]
        right = linear + np.sqrt(diagonal) * white + q @ prior / np.sqrt(variance)
        draw = np.array(start)
        system = (q.indptr, q.indices, q.data, 1.0 / variance, diagonal, right)
        if conjugate_gradients(*system, draw, TOLERANCE, MOST_ITERATIONS) < 0:
            draw = SparseFactor(self._matrix(diagonal, variance)).solve(right)
        return draw

    def _matrix(self, diagonal: np.ndarray, variance: float) -> sparse.csc_array:
        q = self.precision.matrix
        elements = q.data / variance
        elements[self._diagonal] += diagonal
        return sparse.csc_array((elements, q.indices, q.indptr), shape=q.shape)

r"""Gibbs update of variables that are jointly Gaussian given the rest.

Where the log density is quadratic in a stacked vector b, its gradient is :math:`h - P b`: the
gradient at zero and in a few directions, all in one call, gives h and P exactly, and b is drawn
from :math:`N(P^{-1} h, P^{-1})` (Rue & Held 2005, Gaussian Markov Random Fields, section 2.3).
Elements that never meet in P share a direction (Curtis, Powell, Reid 1974, J Inst Math Appl
13:117), so ten intercepts of ten omics take one, not ten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.replace import graph_replace, vectorize_graph
from pytensor.graph.traversal import ancestors
from scipy.linalg.lapack import dtrtrs
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from nnmm_pymc.errors import InputError
from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point
from nnmm_pymc.steps.gibbs import GibbsStep
from nnmm_pymc.steps.regression import Stack, colours_of, find_regression

__all__ = ["GaussianGibbs", "Quadratic", "gaussian_pattern"]

# More elements than this are left to NUTS: the pattern of P takes one gradient for each.
MAX_ELEMENTS = 500
_TOLERANCE = 1e-8


def _gradients(
    conditional: ConditionalModel, stack: Stack, without: Sequence[str] = ()
) -> tuple[list[Any], Any]:
    """Gradient of every factor but some in the stacked vector, and that vector."""
    vector = pt.dvector("stacked")
    parts = {conditional.values[v]: part for v, part in stack.split(vector).items()}
    names = {n for v in stack.values for n in conditional.factors_of(conditional.values[v])}
    names -= set(without)
    densities = [
        graph_replace(conditional.factors[name].sum(), parts, strict=False)
        for name in sorted(names)
    ]
    return [pt.grad(d, vector, disconnected_inputs="ignore") for d in densities], vector


def gaussian_pattern(
    conditional: ConditionalModel,
    values: Sequence[str],
    without: Sequence[str] = (),
    most: int = MAX_ELEMENTS,
) -> np.ndarray | None:
    """Which elements of the stacked variables meet in their joint precision matrix.

    Parameters
    ----------
    conditional : ConditionalModel
    values : sequence of str
        Names of value variables, none of them transformed.
    without : sequence of str
        Factors that are left out.
    most : int
        Elements up to which this is looked at.

    Returns
    -------
    (q, q) array of bool, or None if the variables are not jointly Gaussian given the rest.
    """
    for value in values:
        if conditional.conditional.rvs_to_transforms[conditional.rvs[value]] is not None:
            return None
    stack = Stack(conditional, values)
    if stack.size > most:
        return None
    gradients, vector = _gradients(conditional, stack, without)
    function = conditional.compile(gradients, leading=[vector], mode=QUICK_MODE)
    apart = _by_column(stack.shapes)
    for columns in [np.zeros(stack.size, int)] if apart is None else [apart, 0 * apart]:
        meet = _pattern(conditional, values, function, columns)
        if meet is not None:
            return meet
    return None


def _by_column(shapes: Sequence[tuple[int, ...]]) -> np.ndarray | None:
    """The last index of every element, which is that of a node's column; None if lengths differ."""
    lengths = {shape[-1] if shape else 1 for shape in shapes}
    if len(lengths) > 1 or lengths == {1}:
        return None
    return np.concatenate([np.arange(int(np.prod(s))) % s[-1] for s in shapes])


def _pattern(
    conditional: ConditionalModel,
    values: Sequence[str],
    function: Callable[..., list[np.ndarray]],
    columns: np.ndarray,
) -> np.ndarray | None:
    """Which elements meet, or None if the density is not quadratic or those of two columns meet.

    Elements of different columns are moved together: with many traits that saves most gradients.
    Were there a product of two of them, gradients elsewhere would not be what is predicted.
    """
    same = columns[:, None] == columns
    turn = np.array([np.sum(columns[:i] == c) for i, c in enumerate(columns)])
    rng = np.random.default_rng(0)
    meet = np.eye(len(columns), dtype=bool)
    for point in conditional.check_points:
        conditional.refresh(point)
        base = np.concatenate([np.ravel(point[v]) for v in values])
        step = np.abs(base) + 1.0
        # Off the lines through the probes, and not at their length: a quadratic fits there too.
        others = [
            base + sign * step * rng.uniform(0.3, 3.0, len(base)) * rng.choice([-1, 1], len(base))
            for sign in (-1.0, 1.0)
        ] + [base - step]
        # Probes go far: what overflows there is not quadratic, and is found so.
        with np.errstate(all="ignore"):
            at_base, at_others = function(point, base), [function(point, o) for o in others]
            probes = [function(point, base + step * (turn == t)) for t in range(turn.max() + 1)]
            for m in range(len(at_base)):
                images = np.stack([probe[m] - at_base[m] for probe in probes], axis=1)
                hessian = np.where(same, images[:, turn] / step, 0.0)
                for other, at_other in zip(others, at_others, strict=True):
                    predicted = at_base[m] + hessian @ (other - base)
                    scale = np.abs(at_base[m]) + np.abs(hessian) @ np.abs(other - base)
                    if not np.all(np.abs(predicted - at_other[m]) <= 1e-7 * scale + 1e-300):
                        return None
                size = np.sqrt(np.abs(np.diag(hessian)))
                meet |= np.abs(hessian) > _TOLERANCE * np.outer(size, size) + 1e-300
    return meet | meet.T


class Quadratic:
    """Reads the precision matrix P and linear coefficient h of a density ``-b'Pb/2 + h'b``.

    Normal likelihoods are read as regressions, everything else through its gradient.

    Parameters
    ----------
    conditional : ConditionalModel
    values : sequence of str
        Value variables that make b.
    pattern : (q, q) array of bool
        From `gaussian_pattern`.
    without : sequence of str
        Factors that are left out.
    """

    def __init__(
        self,
        conditional: ConditionalModel,
        values: Sequence[str],
        pattern: np.ndarray,
        without: Sequence[str] = (),
    ):
        self.stack = Stack(conditional, values)
        by_gradient = _GradientQuadratic(conditional, self.stack, pattern, without, QUICK_MODE)
        own = {conditional.rvs[v].name for v in values} | set(without)
        names = {n for v in values for n in conditional.factors_of(conditional.values[v])} - own
        found = {n: r for n in sorted(names) if (r := find_regression(conditional, self.stack, n))}
        rest = _GradientQuadratic(conditional, self.stack, pattern, [*without, *found])
        self.parts = [*found.values(), rest]
        # Elements that meet where X depends on other variables need not do so at the check points.
        self.pattern = pattern.copy()
        for regression in found.values():
            for _, elements in regression.members:
                together = elements[elements >= 0]
                self.pattern[together[:, None], together] = True
        for point in conditional.check_points:
            conditional.refresh(point)
            pairs = zip(self(point), by_gradient(point), strict=True)
            if not all(np.allclose(a, b, rtol=1e-7, atol=1e-8 * np.abs(b).max()) for a, b in pairs):
                self.parts = [_GradientQuadratic(conditional, self.stack, pattern, without)]
                return

    def __call__(self, point: Point) -> tuple[np.ndarray, np.ndarray]:
        """P and h at a point."""
        precisions, linears = zip(*(part(point) for part in self.parts), strict=True)
        return np.sum(precisions, axis=0), np.sum(linears, axis=0)


class _GradientQuadratic:
    """P and h of all factors but some, from gradients at zero and in a few directions."""

    def __init__(self, conditional, stack: Stack, pattern, without=(), mode=None):
        self.pattern, self.held = pattern, None
        gradients, vector = _gradients(conditional, stack, without)
        directions = pt.dmatrix("directions")
        self.colours = colours_of((pattern.astype(np.int64) @ pattern) > 0)
        self.directions = np.zeros((self.colours.max() + 2, len(self.colours)))
        self.directions[self.colours + 1, np.arange(len(self.colours))] = stack.steps
        self.steps = stack.steps
        total = pt.sum(gradients, axis=0) if gradients else pt.zeros_like(vector)
        batched = vectorize_graph(total + 0.0 * vector, {vector: directions})
        self.read = conditional.compile([batched], leading=[directions], mode=mode)
        held = {t.held for t in conditional.terms}
        if not self.read.names and not held & set(ancestors([batched])):
            # Priors with fixed parameters: the same at every point.
            self.held = self._read({})

    def __call__(self, point: Point) -> tuple[np.ndarray, np.ndarray]:
        return self._read(point) if self.held is None else self.held

    def _read(self, point: Point) -> tuple[np.ndarray, np.ndarray]:
        linear, *others = self.read(point, self.directions)[0]
        images = linear - np.stack(others)
        precision = np.where(self.pattern, images[self.colours].T / self.steps, 0.0)
        return 0.5 * (precision + precision.T), linear


class GaussianGibbs(GibbsStep):
    """Exact joint draw of intercepts, fixed effects and weights.

    Parameters
    ----------
    vars : list of variable
    pattern : (q, q) array of bool
        From `gaussian_pattern`.
    model, conditional
        As in `MarkerGibbs`.
    """

    name = "gaussian_gibbs"

    def __init__(
        self,
        vars,
        *,
        pattern: np.ndarray,
        conditional: ConditionalModel,
        **kwargs: Any,
    ):
        super().__init__(vars, conditional=conditional, **kwargs)
        self.quadratic = Quadratic(conditional, [v.name for v in self.vars], pattern)
        _, labels = connected_components(csr_array(self.quadratic.pattern), directed=False)
        blocks = [np.flatnonzero(labels == b) for b in range(labels.max() + 1)]
        self.alone = np.array([b[0] for b in blocks if len(b) == 1], int)
        self.blocks = [b for b in blocks if len(b) > 1]

    def step(self, point):
        self.conditional.refresh(point)
        precision, linear = self.quadratic(point)
        noise = self.rng.standard_normal(len(linear))
        draw = np.empty(len(linear))
        own = precision[self.alone, self.alone]
        draw[self.alone] = (linear[self.alone] + np.sqrt(own) * noise[self.alone]) / own
        for block in self.blocks:
            upper = np.linalg.cholesky(precision[np.ix_(block, block)]).T
            # Of LAPACK, as what SciPy puts around it takes ten times as long for a dozen elements.
            whitened = dtrtrs(upper, linear[block], trans=1)[0] + noise[block]
            draw[block] = dtrtrs(upper, whitened)[0]
        if not np.isfinite(draw).all():
            names = ", ".join(v.name for v in self.vars)
            raise InputError(
                f"The full conditional of {names} is not finite; look for data that are far too "
                "large, or give these variables narrower priors."
            )
        return point | self.quadratic.stack.split(draw), [{}]

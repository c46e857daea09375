"""The conditional density of a standard network in one numba pass, instead of PyTensor's graph.

Applies where one omics layer with missing cells acts on traits through a built-in activation, all
Gaussian. Rows without a missing cell are quadratic in the coefficients and weights, so they enter
through cross-products taken once a draw. The result is compared with the model's own gradient
before it is used; a model that was extended falls back to PyTensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pymc.distributions.continuous import FlatRV
from pymc.logprob.transforms import LogTransform
from pytensor.graph.traversal import ancestors
from pytensor.tensor.random.basic import NormalRV

from nnmm_pymc.activations import NUMPY_ACTIVATIONS
from nnmm_pymc.kernels.activate import activate_all
from nnmm_pymc.kernels.network import density_and_gradient
from nnmm_pymc.kernels.nuts import density_of_draw
from nnmm_pymc.kernels.rows import seen_products
from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point
from nnmm_pymc.steps.standard_network import StandardNetwork, network_of
from nnmm_pymc.steps.whitening import NONE, find_whitening

__all__ = ["FusedDensity", "fused_density"]


def fused_density(conditional: ConditionalModel) -> FusedDensity | None:
    """The fused density of a standard network's locations, or None if the model is another one."""
    network = network_of(conditional.model)
    if network is None:
        return None
    own = {network.missing, network.weights}
    # Weights with a spike have a step of their own: here they are held.
    own -= set(conditional.effects)
    own |= set(network.middle.coefficients) | set(network.terminal.coefficients)
    names = [v.name for v in conditional.model.value_vars if v.name in own]
    if own != set(names):
        return None
    shapes = {n: conditional.check_points[0][n].size for n in names}
    for side in (network.middle, network.terminal):
        width = side.observed.shape[1]
        if any(shapes[n] != d.shape[1] * width for n, d in side.coefficients.items()):
            return None
    if conditional.check_points[0][network.weights].size != network.weight_mask.size:
        return None
    priors = {name: _normal_prior(conditional, name) for name in names if name != network.missing}
    if any(prior is None for prior in priors.values()):
        return None
    fused = FusedDensity(conditional, network, names, priors)
    return fused if _agrees(conditional, fused, names) else None


def _normal_prior(conditional: ConditionalModel, name: str) -> tuple[Any, Any] | None:
    """Mean and precision of a normal (or flat) prior with constant parameters."""
    rv = conditional.rvs[name]
    if isinstance(rv.owner.op, FlatRV):
        return 0.0, 0.0
    if not isinstance(rv.owner.op, NormalRV):
        return None
    mu, sigma = rv.owner.inputs[2:4]
    if set(ancestors([mu, sigma])) & set(conditional.conditional.basic_RVs):
        return None
    shape = np.shape(conditional.check_points[0][name])
    mean, sd = (np.broadcast_to(p.eval(mode=QUICK_MODE), shape).ravel() for p in (mu, sigma))
    return mean, 1.0 / sd**2


def _agrees(conditional: ConditionalModel, fused: FusedDensity, names: list[str]) -> bool:
    """Whether density differences and gradients are those of the model at the check points."""
    own = [conditional.values[n] for n in names]
    density = conditional.log_density(*own)
    slopes: Any = pt.grad(density, own)
    reference = conditional.compile([density, *slopes], mode=QUICK_MODE)
    for point in conditional.check_points:
        offsets, rounding = [], []
        for shift in (0.0, 0.1):
            moved = point | {n: point[n] + shift for n in names}
            conditional.refresh(moved)
            fused.prepare(moved)
            logp, gradient = fused(np.concatenate([np.ravel(moved[n]) for n in names]))
            expected, *parts = reference(moved)
            wanted = np.concatenate([np.ravel(g) for g in parts])
            if not np.allclose(gradient, wanted, rtol=1e-6, atol=1e-8 * np.abs(wanted).max()):
                return False
            offsets.append(expected - logp)
            rounding.append(1e-12 * abs(expected))
        # Far from the data, where flat priors start, the densities are as large as their squares.
        tolerance = 1e-7 * abs(offsets[0]) + 1e-6 + max(rounding)
        if not abs(offsets[1] - offsets[0]) <= tolerance:
            return False
    return True


@dataclass(eq=False, frozen=True)
class _Held:
    """What changes once a draw: one over residual variances, genetic values, sums with them."""

    middle_precision: np.ndarray
    trait_precision: np.ndarray
    middle_offset: np.ndarray
    cell_offset: np.ndarray
    trait_offset: np.ndarray
    middle_linear: np.ndarray
    trait_linear: np.ndarray
    weights: np.ndarray


class FusedDensity:
    """Log density and gradient of missing cells, weights and coefficients, as PyMC calls such.

    Parameters
    ----------
    conditional : ConditionalModel
    network : StandardNetwork
    names : list of str
        Variables in the order of the stacked vector.
    priors : dict
        Mean and precision of the normal prior of every variable but the missing cells.
    """

    _raveled_inputs = True
    dtype = "float64"

    def __init__(self, conditional, network: StandardNetwork, names, priors):
        self._extra_vars_shared: dict[str, Any] = {}
        self._pytensor_function = self
        self.conditional, self.network, self.names = conditional, network, names
        point = conditional.check_points[0]
        sizes = [np.size(point[n]) for n in names]
        stops = np.cumsum(sizes)
        self.slices = {n: slice(e - s, e) for n, s, e in zip(names, sizes, stops, strict=True)}
        self.prior_mean, self.prior_precision = np.zeros(stops[-1]), np.zeros(stops[-1])
        for name, (mean, precision) in priors.items():
            self.prior_mean[self.slices[name]] = mean
            self.prior_precision[self.slices[name]] = precision
        self._variances = {
            side: self._variance_function(side.variance)
            for side in (network.middle, network.terminal)
        }
        n_omics, n_traits = network.weight_mask.shape
        self.indices = (
            self._positions(list(network.middle.coefficients), n_omics),
            self._positions(list(network.terminal.coefficients), n_traits),
            self._positions([w for w in [network.weights] if w in names], n_traits),
        )
        self.regression_index = np.vstack(self.indices[:0:-1])
        self._take_constants()
        self.whitening = NONE

    def whiten(self) -> None:
        """From now on take weights and coefficients in the coordinates of `find_whitening`."""
        self.whitening = find_whitening(self)

    def _variance_function(self, variance: str) -> Callable[[Point], Any]:
        value = next((v for v, rv in self.conditional.rvs.items() if rv.name == variance), None)
        # A residual variance that is a number, or made of other variables, is a deterministic.
        if value is None:
            graph = self.conditional.deterministic(variance)
        elif isinstance(self.conditional.transform_of(value), LogTransform):
            return lambda point: np.exp(point[value])
        else:
            graph = self.conditional.natural(value)
        read = self.conditional.compile([graph])
        return lambda point: read(point)[0]

    def _take_constants(self) -> None:
        net = self.network
        z, latent = net.middle.observed, net.latent
        self.incomplete = np.flatnonzero(latent.any(axis=1))
        activate = NUMPY_ACTIVATIONS[net.activation]
        with np.errstate(invalid="ignore"):
            activated = np.nan_to_num(activate((z - net.centre) / net.scale))
        cell = np.full(z.shape, -1)
        cell[latent] = np.arange(latent.sum())
        self.cell = cell[self.incomplete]
        self.activated = np.ascontiguousarray(activated[self.incomplete])
        self.latent_rows, self.latent_columns = np.nonzero(latent)
        self.latent_cells = np.flatnonzero(latent)
        self.cell_rows = np.asarray(np.searchsorted(self.incomplete, self.latent_rows))
        self.cell_centre, self.cell_scale = (
            v[self.latent_columns] for v in (net.centre, net.scale)
        )
        self.seen = ~np.isnan(z)
        self.middle_design = net.middle.design
        squares = np.einsum("ic,ic->c", self.middle_design, self.middle_design)
        self.middle_squares = np.repeat(squares[:, None], z.shape[1], axis=1)
        self.middle_cross = np.stack(
            [self.middle_design[s].T @ self.middle_design[s] for s in self.seen.T]
        )
        y = net.terminal.observed
        complete = ~latent.any(axis=1)
        self.trait_design = net.terminal.design
        self.regressors = np.hstack([activated, self.trait_design])
        self.counted = complete[:, None] & ~np.isnan(y)
        self.trait_cross = np.stack(
            [self.regressors[c].T @ self.regressors[c] for c in self.counted.T]
        )
        # What the complete rows say of weights and coefficients, none of a weight that is masked.
        used = np.vstack([net.weight_mask, np.ones((len(self.indices[1]), y.shape[1]))])
        self.used_cross = self.trait_cross * used.T[:, :, None] * used.T[:, None, :]
        self.used = used
        squares = np.einsum("tcc->ct", self.used_cross) + len(self.incomplete)
        self.trait_squares = np.ascontiguousarray(squares)
        self.y = np.where(np.isnan(y), 0.0, y)
        # Cross-products with the observations; those with the genetic values change once a draw.
        self.middle_cross_observed = self.middle_design.T @ np.where(self.seen, z, 0.0)
        self.trait_cross_observed = self.regressors.T @ np.where(self.counted, self.y, 0.0)
        self.y_incomplete = np.ascontiguousarray(y[self.incomplete])
        self.middle_rows = np.ascontiguousarray(self.middle_design[self.incomplete])
        self.trait_rows = np.ascontiguousarray(self.trait_design[self.incomplete])
        self._order_by_omic()

    def _order_by_omic(self) -> None:
        """Arrays as the kernel reads them: the missing cells omic by omic, all else transposed."""
        net, n = self.network, len(self.incomplete)
        cells, individual, bounds = net.cells_by_omic
        self.order = np.arange(self.prior_mean.size)
        own = self.slices[net.missing]
        self.order[own] = own.start + cells
        row = np.asarray(np.searchsorted(self.incomplete, individual))
        seen = self.seen[self.incomplete].any(axis=0)
        self.cells, unseen = cells, np.isnan(self.y_incomplete.T)
        self.rows = (
            row,
            bounds,
            np.diff(bounds) == n,
            np.ascontiguousarray(self.activated.T),
            seen,
            np.ascontiguousarray(self.middle_rows.T),
            np.ascontiguousarray(np.where(unseen, 0.0, self.y_incomplete.T)),
            np.ascontiguousarray(np.where(unseen, 0.0, 1.0)),
            np.ascontiguousarray(self.trait_rows.T),
            net.centre,
            net.scale,
            *net.activation_code,
        )
        self.priors = (self.prior_mean[self.order], self.prior_precision[self.order])

    def prepare(self, point: Point) -> None:
        """Take in what changes once a draw: variances and genetic values."""
        net = self.network
        middle, trait = (side.offset(self.conditional) for side in (net.middle, net.terminal))
        middle_offset = middle.ravel().take(self.latent_cells)
        fitted = seen_products(self.middle_design, self.seen, middle)
        trait_linear = self.trait_cross_observed
        if net.terminal.genetic_values:
            trait_linear = trait_linear - self.regressors.T @ (self.counted * trait)
        self.held = _Held(
            np.ones(middle.shape[1]) / self._variances[net.middle](point),
            1.0 / self.residual_variance(point),
            middle_offset,
            middle_offset[self.cells],
            trait[self.incomplete],
            self.middle_cross_observed - fitted,
            trait_linear,
            net.weights_at(point),
        )

    def cell_curvature(self, cells: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Curvature of minus the log density at missing cells, without the activation's own.

        Positive, and what the Hessian is on average over the trait.
        """
        held, columns = self.held, self.latent_columns
        pull = weights**2 @ held.trait_precision
        slope = self.activated_cells(cells)[1]
        return held.middle_precision[columns] + pull[columns] * slope**2

    def activated_cells(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Activation of missing cells, row by row, and its slope."""
        value, slope = np.empty((2, len(cells)))
        standardised = (cells - self.cell_centre) / self.cell_scale
        activate_all(*self.network.activation_code, standardised, 0.0, 1.0, value, slope)
        return value, slope / self.cell_scale

    def put(self, point: Point, index: np.ndarray, values: np.ndarray) -> None:
        """Write elements of the stacked vector into the variables of a point, in place."""
        for name, part in self.slices.items():
            own = (index >= part.start) & (index < part.stop)
            point[name].reshape(-1)[index[own] - part.start] = values[own]

    def coefficients(self, point: Point) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coefficients of the two design matrices, and the weights with their mask."""
        net = self.network
        return (
            net.middle.stacked(point),
            net.terminal.stacked(point),
            net.weights_at(point),
        )

    @property
    def data(self) -> tuple[Any, ...]:
        """What `nnmm_pymc.kernels.network.network_density` needs, for the draw prepared.

        It takes the stacked vector in the order `order`.
        """
        net, held = self.network, self.held
        missing = self.slices[net.missing]
        layout = (missing.start, missing.stop, *self.indices, net.weight_mask, held.weights)
        now = (
            held.middle_precision,
            held.trait_precision,
            held.cell_offset,
            np.ascontiguousarray(held.trait_offset.T),
        )
        complete = (self.middle_cross, held.middle_linear, self.trait_cross, held.trait_linear)
        whitening = (self.whitening.index, self.whitening.factor)
        return layout, self.priors, now, self.rows, complete, whitening

    def inward(self, point: Point) -> Point:
        """The variables of a point in the coordinates of the density."""
        return self._moved(point, self.whitening.inward)

    def outward(self, point: Point) -> Point:
        """The variables of a point, given in the coordinates of the density."""
        return self._moved(point, self.whitening.outward)

    def _moved(self, point: Point, move: Callable[[np.ndarray], np.ndarray]) -> Point:
        q = move(np.concatenate([point[n].reshape(-1) for n in self.names]))
        return {n: q[self.slices[n]].reshape(point[n].shape) for n in self.names}

    def residual_variance(self, point: Point) -> np.ndarray:
        """Of every trait."""
        n_traits = self.network.weight_mask.shape[1]
        return np.ones(n_traits) * self._variances[self.network.terminal](point)

    def __call__(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        at, gradient = q[self.order], np.empty_like(q)
        # What does not bend takes no trajectories, and these take longest to compile.
        bends = self.network.activation != "identity"
        evaluate = density_of_draw if bends else density_and_gradient
        logp, gradient[self.order] = evaluate(at, self.data)
        return logp, gradient

    def _positions(self, names: Sequence[str], n_columns: int) -> np.ndarray:
        """Where in the stacked vector each row of coefficients stands, (c, column)."""
        parts = [np.arange(s.start, s.stop) for s in (self.slices[n] for n in names)]
        empty = np.zeros((0, n_columns), int)
        return np.vstack([empty, *(p.reshape(-1, n_columns) for p in parts)])

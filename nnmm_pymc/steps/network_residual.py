"""Residuals of the traits of a standard network, whose means bend, without a call of PyTensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nnmm_pymc.activations import NUMPY_ACTIVATIONS
from nnmm_pymc.kernels.network import add_activated
from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point
from nnmm_pymc.steps.standard_network import StandardNetwork, network_of

__all__ = ["TraitResidual", "find_trait_residual"]


@dataclass(frozen=True, eq=False)
class TraitResidual:
    """Observed cells of traits less their means, individual by individual.

    The means are those of `nnmm_pymc.kernels.network`, of all individuals.
    """

    conditional: ConditionalModel
    network: StandardNetwork

    @cached_property
    def regressors(self) -> np.ndarray:
        """Activation of the observed omics, 0 where one is missing, and the design, (n, c)."""
        net = self.network
        z = np.where(net.latent, net.centre, net.middle.observed)
        active = NUMPY_ACTIVATIONS[net.activation]((z - net.centre) / net.scale)
        return np.hstack([np.where(net.latent, 0.0, active), net.terminal.design])

    @cached_property
    def seen(self) -> np.ndarray:
        """Where the observed cells stand among all of the traits."""
        return np.flatnonzero(~np.isnan(self.network.terminal.observed))

    @cached_property
    def observed(self) -> np.ndarray:
        """These cells."""
        return self.network.terminal.observed.ravel()[self.seen]

    def __call__(self, point: Point, without: Sequence[str] = ()) -> np.ndarray:
        """Flat residuals; the variables of `without` are taken to be zero."""
        net, side = self.network, self.network.terminal
        used = point | {name: np.zeros_like(point[name]) for name in without} if without else point
        weights = net.weights_at(used)
        mean = self.regressors @ np.vstack([weights, side.stacked(used)])
        if side.genetic_values:
            mean += side.offset(self.conditional)
        order, row, bounds = net.cells_by_omic
        cells = used[net.missing][order]
        add_activated(
            mean, cells, row, bounds, weights, net.centre, net.scale, *net.activation_code
        )
        return self.observed - mean.reshape(-1)[self.seen]


def find_trait_residual(
    conditional: ConditionalModel, name: str, graph: Any
) -> TraitResidual | None:
    """Reader of a flat residual, if it is that of the traits of a standard network."""
    network = network_of(conditional.model)
    if network is None:
        return None
    found = TraitResidual(conditional, network)
    function = conditional.compile([graph], mode=QUICK_MODE)
    needed = {network.missing, network.weights, *network.terminal.coefficients}
    if set(function.names) != needed:
        return None
    for point in conditional.check_points:
        conditional.refresh(point)
        given, wanted = found(point), function(point)[0]
        if given.shape != wanted.shape:
            return None
        if not np.allclose(given, wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max(initial=0)):
            return None
    return found

"""Residuals of the traits of a standard network, whose means bend, without a call of PyTensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nnmm_pymc.activations import LEAK
from nnmm_pymc.kernels.activate import ACTIVATION_CODES, activate_all
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
    def latent_cells(self) -> np.ndarray:
        """Where the missing cells stand among all."""
        return np.flatnonzero(self.network.latent)

    def __call__(self, point: Point, without: Sequence[str] = ()) -> np.ndarray:
        """Flat residuals; the variables of `without` are taken to be zero."""
        net, side = self.network, self.network.terminal
        used = point | {name: np.zeros_like(point[name]) for name in without}
        z = net.middle.observed.copy()
        z.reshape(-1)[self.latent_cells] = used[net.missing]
        z -= net.centre
        z *= 1.0 / net.scale
        value, slope = np.empty((2, z.size))
        leak = LEAK if net.activation == "leaky_relu" else 0.0
        activate_all(ACTIVATION_CODES[net.activation], leak, z.ravel(), 0.0, 1.0, value, slope)
        mean = value.reshape(z.shape) @ net.weights_at(used) + side.offset(self.conditional)
        mean += side.design @ side.stacked(used)
        return (side.observed - mean)[~np.isnan(side.observed)]


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

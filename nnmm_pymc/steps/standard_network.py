"""What is known of a model that the factory built as omics acting on traits, all Gaussian."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import pymc as pm

from nnmm_pymc.activations import LEAK
from nnmm_pymc.kernels.activate import ACTIVATION_CODES
from nnmm_pymc.steps.conditional import ConditionalModel, Point

__all__ = ["Side", "StandardNetwork", "network_of", "register_network"]

_NETWORKS: WeakKeyDictionary[pm.Model, StandardNetwork] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two layers of a standard network.

    Attributes
    ----------
    observed : (individual, column) array, NaN where missing
    coefficients : dict of str to (individual, c) array
        Variables with their design matrices; the intercept has a column of ones.
    genetic_values : list of str
        Names of the genetic values in the mean.
    variance : str
        Name of the residual variance.
    """

    observed: np.ndarray
    coefficients: dict[str, np.ndarray]
    genetic_values: list[str]
    variance: str

    @cached_property
    def design(self) -> np.ndarray:
        """All design columns side by side."""
        n = len(self.observed)
        return np.hstack([np.zeros((n, 0)), *self.coefficients.values()])

    def stacked(self, point: Point) -> np.ndarray:
        """Coefficients of all design columns, (c, column)."""
        n_columns = self.observed.shape[1]
        rows = [point[name].reshape(-1, n_columns) for name in self.coefficients]
        return np.concatenate([np.zeros((0, n_columns)), *rows])

    def offset(self, conditional: ConditionalModel) -> np.ndarray:
        """Genetic values that are held, (individual, column)."""
        held = [
            term.held.get_value(borrow=True)
            for term in conditional.terms
            if term.value in self.genetic_values
        ]
        if len(held) == 1:
            return held[0]
        return np.sum(held, axis=0) if held else self._nothing

    @cached_property
    def _nothing(self) -> np.ndarray:
        return np.zeros(self.observed.shape)


@dataclass(frozen=True, eq=False)
class StandardNetwork:
    """One middle layer with missing cells acting on traits through a built-in activation."""

    middle: Side
    terminal: Side
    missing: str
    latent: np.ndarray
    weights: str
    weight_mask: np.ndarray
    activation: str
    centre: np.ndarray
    scale: np.ndarray

    @cached_property
    def activation_code(self) -> tuple[int, float]:
        """The activation as kernels are told it, and its slope below zero."""
        leak = LEAK if self.activation == "leaky_relu" else 0.0
        return ACTIVATION_CODES[self.activation], leak

    @cached_property
    def cells_by_omic(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The missing cells omic by omic: which they are, their individuals, where omics begin."""
        rows, columns = np.nonzero(self.latent)
        order = np.argsort(columns, kind="stable")
        return order, rows[order], np.concatenate([[0], np.cumsum(self.latent.sum(axis=0))])

    def weights_at(self, point: Point) -> np.ndarray:
        """Weights, (omic, trait), zero where the mask is."""
        return point[self.weights].reshape(self.weight_mask.shape) * self.weight_mask


def register_network(model: pm.Model, network: StandardNetwork) -> None:
    """Say that a model is a standard network."""
    _NETWORKS[model] = network


def network_of(model: pm.Model) -> StandardNetwork | None:
    """The network that a model was registered as; it may have been extended since."""
    return _NETWORKS.get(model)

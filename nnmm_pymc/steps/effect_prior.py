r"""The prior density of marker effects, summed to what their hyper-parameters need.

With :math:`m_{jc} = 1` where effect j is from normal c of the slab,

.. math:: \log p = \sum_c m_{jc} \log \pi_{jc} + (1 - \sum_c m_{jc}) \log(1 - \sum_c \pi_{jc})
    - \tfrac12 \sum_c [m_{jc} \log(2\pi v_{jc}) + m_{jc} a_j^2 / v_{jc}]

The first two terms and the last are two factors: an inclusion probability never meets a slab
variance. Sums over effects that share a parameter are taken first, so a density in a parameter of
all markers costs one logarithm, not one a marker.

Where the slab has several normals the class of each effect is held as part of the state (Diebolt &
Robert 1994, J R Stat Soc B 56:363): given the classes, probabilities and variances are conjugate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

__all__ = ["EffectPrior", "faults"]

# Probabilities may sum to one more than one by this.
ROUNDING = 1e-9


class EffectPrior:
    """Density and classes of one `MarkerEffects` variable.

    Parameters
    ----------
    effects : variable
        Value variable of the marker effects.
    weights, variances : variable
        Prior probability and variance of each normal, the last axis running over them.
    shape : tuple of int
        Of the effects.
    n_classes : int
        Number of normals; with one the class of an effect is whether it is zero.
    """

    def __init__(self, effects, weights, variances, shape: tuple[int, ...], n_classes: int):
        self.effects, self.n_classes = effects, n_classes
        rank = len(shape) + 1
        self.weights, self.variances = (
            pt.shape_padleft(p, rank - p.ndim) if p.ndim < rank else p for p in (weights, variances)
        )
        # -1 for an effect that is zero.
        self.classes: np.ndarray = np.full(shape, -1, np.int8)
        self.current: np.ndarray | None = None
        if n_classes == 1:
            self.member = pt.neq(effects, 0.0)[..., None].astype("float64")
        else:
            one_hot = np.zeros((*shape, n_classes))
            self.held: Any = pytensor.shared(one_hot, name="classes", shape=one_hot.shape)
            self.member = pt.as_tensor(self.held)

    @property
    def is_mixture(self) -> bool:
        """Whether the slab has several normals."""
        return self.n_classes > 1

    def hold(self, effects: np.ndarray | None, classes: np.ndarray) -> None:
        """Take in the class of each of the effects, -1 for one that is zero."""
        self.classes = classes.astype(np.int8)
        one_hot = classes[..., None] == np.arange(self.n_classes)
        self.held.set_value(one_hot.astype(float), borrow=True)
        self.current = effects

    @property
    def log_inclusion(self) -> Any:
        """Log probability of the classes, in the shape of the inclusion probabilities."""
        spike = 1.0 - pt.sum(self.weights, axis=-1, keepdims=True)
        out = 1.0 - pt.sum(self.member, axis=-1, keepdims=True)
        density = _times_log(_summed_like(out, spike), spike)
        slab = _times_log(_summed_like(self.member, self.weights), self.weights)
        allowed = pt.all(self.weights >= 0.0, axis=-1) & (spike[..., 0] >= -ROUNDING)
        return pt.where(allowed, pt.sum(density, axis=-1) + pt.sum(slab, axis=-1), -np.inf)

    @property
    def log_slab(self) -> Any:
        """Log density of the effects given their classes, in the shape of the slab variances."""
        count = _summed_like(self.member, self.variances)
        squares = _summed_like(self.member * self.effects[..., None] ** 2, self.variances)
        allowed = self.variances > 0.0
        variances = pt.where(allowed, self.variances, 1.0)
        density = -0.5 * (count * pt.log(2.0 * np.pi * variances) + squares / variances)
        return pt.where(pt.all(allowed, axis=-1), pt.sum(density, axis=-1), -np.inf)

    @property
    def likeliest(self) -> Any:
        """The likeliest class of each effect: where a chain starts."""
        open_ = self.weights > 0.0
        density = pt.log(pt.where(open_, self.weights, 1.0)) - 0.5 * (
            pt.log(self.variances) + self.effects[..., None] ** 2 / self.variances
        )
        density = pt.where(open_, density, -np.inf) + pt.zeros_like(self.member)
        return pt.where(pt.eq(self.effects, 0.0), -1, pt.argmax(density, axis=-1))


def faults(weights: np.ndarray, variances: np.ndarray) -> str | None:
    """What is wrong with the parameters of marker effects at some point, in words."""
    total = weights.sum(axis=-1)
    if not np.all(np.isfinite(weights)) or weights.min() < 0.0 or total.max() > 1.0 + ROUNDING:
        odd = weights.min() if weights.min() < 0.0 else total.max()
        return (
            f"its inclusion probability is {odd:.4g}; give an expression between 0 and 1 (is a "
            "link such as pm.math.invlogit missing?)"
        )
    if not np.all(np.isfinite(variances)) or variances.min() <= 0.0:
        return (
            f"its slab variance is {variances.min():.4g}; give a positive expression (is "
            "pm.math.exp missing, or a square?)"
        )
    return None


def _times_log(count: Any, probability: Any) -> Any:
    """Count times log of a probability; zero where nothing is counted."""
    return count * pt.log(pt.where(count > 0.0, probability, 1.0))


def _summed_like(values: Any, parameter: Any) -> Any:
    """Values summed over the axes along which a parameter is the same for all."""
    shared = tuple(a for a, length in enumerate(parameter.type.shape) if length == 1)
    return pt.sum(values, axis=shared, keepdims=True) if shared else values

r"""Full conditionals of a known family, found and read through the gradient of the model itself.

A conditional in an exponential family has the log density :math:`\sum_m \eta_m T_m(v)` up to a
constant. Its derivative is linear in the natural parameters :math:`\eta`, so the derivative of the
model's own log density at as many points as there are statistics gives them exactly, wherever the
variable stands in the model. One more point tells whether the conditional is in the family at all.

=============  ============================  ===========================================
family         statistics T(v)               draw
=============  ============================  ===========================================
positive       log v, -1/(2v), -v/2          inverse gamma, gamma, generalised inverse
                                             Gaussian (Devroye 2014, Stat Comput 24:239)
probability    log v, log(1 - v)             beta
simplex        log v_1 ... log v_C           Dirichlet
=============  ============================  ===========================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymc.distributions import transforms
from pytensor.graph.traversal import ancestors
from pytensor.tensor.random.basic import NormalRV

from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, gradient

__all__ = [
    "Conjugate",
    "Eta",
    "conjugate_family",
    "derivatives",
    "n_nodes",
    "natural_parameters",
    "nodes",
]

# Relative to the current value (positive), or absolute (probability): where derivatives are taken.
_NODES = {"positive": np.array([1.0, 2.0, 4.0]), "probability": np.array([0.25, 0.75])}
_TOLERANCE = 1e-8

Eta = dict[int, np.ndarray]


@dataclass(frozen=True, eq=False)
class Conjugate:
    """How one variable is updated.

    Attributes
    ----------
    value : str
        Name of the value variable.
    family : {"positive", "probability", "simplex"}
    statistics : tuple of int
        Which of the statistics occur.
    exponent : array, optional
        Coefficient of log v where it is the same at every point: a variance of normals only, whose
        number is fixed. It saves one derivative an iteration.
    """

    value: str
    family: str
    statistics: tuple[int, ...] = ()
    exponent: np.ndarray | None = None

    def describe(self) -> str:
        """Name of the full conditional."""
        if self.family == "positive":
            return {
                (0, 1): "inverse gamma",
                (0, 2): "gamma",
                (0, 1, 2): "generalised inverse Gaussian",
            }[self.statistics]
        return {"probability": "beta", "simplex": "Dirichlet"}[self.family]


def _design(family: str, at: np.ndarray) -> np.ndarray:
    """Derivatives of the statistics at the nodes, times v (positive) or v(1-v) (probability)."""
    if family == "positive":
        return np.stack([np.ones_like(at), 0.5 / at, -0.5 * at], axis=-1)
    return np.stack([1.0 - at, -at], axis=-1)


def conjugate_family(conditional: ConditionalModel, value: str) -> Conjugate | None:
    """Find the family of the conditional of a variable, or None if it has none of ours.

    Parameters
    ----------
    conditional : ConditionalModel
    value : str
        Name of the value variable.
    """
    transform = conditional.conditional.rvs_to_transforms[conditional.rvs[value]]
    if isinstance(transform, transforms.LogTransform):
        return _check_elementwise(conditional, value, "positive")
    if isinstance(transform, transforms.LogOddsTransform):
        return _check_elementwise(conditional, value, "probability")
    if isinstance(transform, transforms.SimplexTransform):
        return _check_simplex(conditional, value)
    return None


def derivatives(conditional: ConditionalModel, value: str) -> tuple[list[Any], Any]:
    """Derivative of every factor in the untransformed variable, and that variable.

    Factors are kept apart where the family is checked: the prior is small beside a likelihood of
    thousands of individuals, and an odd prior must not hide in its rounding error.
    """
    natural = conditional.rvs[value].type(f"{value}_natural")
    densities = [
        conditional.in_natural(conditional.factors[name].sum(), value, natural)
        for name in conditional.factors_of(conditional.values[value])
    ]
    return [gradient(density, natural) for density in densities], natural


def _check_elementwise(conditional: ConditionalModel, value: str, family: str) -> Conjugate | None:
    gradients, natural = derivatives(conditional, value)
    function = conditional.compile(gradients, leading=[natural], mode=QUICK_MODE)
    relative = np.append(_NODES[family], 0.4)
    used = np.zeros(3, bool)
    exponents = []
    for point in conditional.check_points:
        conditional.refresh(point)
        base = np.exp(point[value]) if family == "positive" else np.ones_like(point[value])
        nodes = [np.asarray(base * u) for u in relative]
        factor = nodes if family == "positive" else [v * (1 - v) for v in nodes]
        values = [function(point, v) for v in nodes]
        exponent = np.zeros(np.size(base))
        for m in range(len(gradients)):
            with np.errstate(all="ignore"):
                scaled = np.stack([np.ravel(f * v[m]) for f, v in zip(factor, values, strict=True)])
            if not np.all(np.isfinite(scaled)):
                return None
            design = _design(family, relative)
            fit = np.linalg.solve(design[:-1], scaled[:-1])
            scale = np.abs(scaled).max() + 1e-300
            if np.abs(design[-1] @ fit - scaled[-1]).max() > _TOLERANCE * scale:
                return None
            exponent += fit[0]
            used[: len(fit)] |= np.abs(fit).max(axis=1) > _TOLERANCE * np.abs(fit).max()
        if not _separable(function, point, nodes):
            return None
        exponents.append(exponent.reshape(np.shape(base)))
    if family == "probability":
        return Conjugate(value, family, (0, 1))
    statistics = tuple(m for m in (0, 1, 2) if m == 0 or used[m])
    if len(statistics) < 2:
        return None
    fixed = _only_normals(conditional, value) and np.allclose(exponents[0], exponents[1], rtol=1e-9)
    return Conjugate(value, family, statistics, exponents[0] if fixed else None)


def _only_normals(conditional: ConditionalModel, value: str) -> bool:
    """Whether a variable is a fixed function of the variances of normals, and nothing else."""
    model = conditional.conditional
    own = conditional.rvs[value]
    random = set(model.basic_RVs)
    if set(ancestors(own.owner.inputs)) & random:
        return False
    for name in conditional.factors_of(conditional.values[value]):
        variable = model.named_vars.get(name)
        if variable is own:
            continue
        if variable not in random or not isinstance(variable.owner.op, NormalRV):
            return False
        if set(ancestors([variable.owner.inputs[3]])) & random != {own}:
            return False
    return True


def _separable(function, point, nodes) -> bool:
    """Whether elements are independent: moving some leaves the derivative of the others.

    Any two elements differ in a bit of their index, so splits by bits tell every pair apart.
    """
    size = np.size(nodes[0])
    before = function(point, nodes[0])
    index = np.arange(size).reshape(np.shape(nodes[0]))
    for bit in range(max(0, size - 1).bit_length()):
        for side in (0, 1):
            moved = (index >> bit) & 1 == side
            after = function(point, np.where(moved, nodes[1], nodes[0]))
            for a, b in zip(after, before, strict=True):
                still = np.abs(a - b)[~moved]
                if still.size and still.max() > _TOLERANCE * (np.abs(b).max() + 1e-300):
                    return False
    return True


def _check_simplex(conditional: ConditionalModel, value: str) -> Conjugate | None:
    gradients, natural = derivatives(conditional, value)
    function = conditional.compile(gradients, leading=[natural], mode=QUICK_MODE)
    rng = np.random.default_rng(0)
    for point in conditional.check_points:
        conditional.refresh(point)
        shape = (*point[value].shape[:-1], point[value].shape[-1] + 1)
        at = [rng.dirichlet(np.full(shape[-1], 3.0), size=shape[:-1]) for _ in range(3)]
        values = [function(point, v) for v in at]
        for m in range(len(gradients)):
            fits = [
                _simplex_counts(at[i : i + 2], [v[m] for v in values[i : i + 2]]) for i in (0, 1)
            ]
            scale = np.abs(fits[0]).max() + 1e-300
            if not np.abs(fits[0] - fits[1]).max() <= 1e-6 * scale:
                return None
    return Conjugate(value, "simplex")


def _simplex_counts(at: Sequence[np.ndarray], gradients: Sequence[np.ndarray]) -> np.ndarray:
    """Coefficients A of sum_c A_c log v_c from gradients at two points of the simplex.

    Along the simplex only differences of the gradient count: g_c - g_0 = A_c / v_c - A_0 / v_0,
    whether or not the model writes the last probability as one minus the others.
    """
    (v, u), (g, h) = at, gradients
    # (g_c - g_0) v_c - (h_c - h_0) u_c = A_0 (u_c / u_0 - v_c / v_0), for any c but 0.
    left = (g - g[..., :1]) * v - (h - h[..., :1]) * u
    right = u / u[..., :1] - v / v[..., :1]
    first = np.sum(left * right, axis=-1, keepdims=True) / np.sum(right**2, axis=-1, keepdims=True)
    counts = (g - g[..., :1]) * v + first * v / v[..., :1]
    counts[..., :1] = first
    return counts


def n_nodes(c: Conjugate) -> int:
    if c.family == "simplex":
        return 2
    return len(c.statistics) - (c.exponent is not None)


def nodes(c: Conjugate, value: np.ndarray) -> list[np.ndarray]:
    if c.family == "positive":
        base = np.exp(value)
        return [np.asarray(base * u) for u in _NODES["positive"][: n_nodes(c)]]
    if c.family == "probability":
        return [np.full(np.shape(value), u) for u in _NODES["probability"]]
    size = value.shape[-1] + 1
    shape = (*value.shape[:-1], size)
    even = np.full(shape, 1.0 / size)
    tilted = np.broadcast_to(2.0 * np.arange(1, size + 1) / (size * (size + 1)), shape)
    return [even, np.array(tilted)]


def natural_parameters(c: Conjugate, at, gradients) -> tuple[Eta, np.ndarray]:
    """Natural parameters from derivatives at the nodes, and the unit of v in which they are."""
    if c.family == "simplex":
        return {0: _simplex_counts(at, gradients)}, np.ones(1)
    if c.family == "probability":
        u = _NODES["probability"]
        scaled = np.stack([g * u_m * (1 - u_m) for g, u_m in zip(gradients, u, strict=True)], -1)
        a, b = np.moveaxis(scaled @ np.linalg.inv(_design("probability", u)).T, -1, 0)
        return {0: a, 1: b}, np.ones(1)
    u = _NODES["positive"][: len(at)]
    scaled = np.stack([g * v for g, v in zip(gradients, at, strict=True)], -1)
    design = _design("positive", u)[:, list(c.statistics)]
    eta: Eta = {}
    unknown = list(c.statistics)
    if c.exponent is not None:
        eta[0] = c.exponent
        scaled, design, unknown = scaled - c.exponent[..., None], design[:, 1:], unknown[1:]
    solved = np.moveaxis(scaled @ np.linalg.inv(design).T, -1, 0)
    eta.update(zip(unknown, solved, strict=True))
    return eta, at[0]

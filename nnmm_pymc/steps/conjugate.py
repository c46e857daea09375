r"""Gibbs updates of variables whose conditional is a known family, read from the model's gradient.

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
from typing import Any, ClassVar

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions import transforms
from pymc.step_methods.compound import BlockedStep, StepMethodState
from pymc.step_methods.state import dataclass_state
from pymc.util import get_value_vars_from_user_vars
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors
from pytensor.tensor.random.basic import NormalRV
from scipy.special import logit
from scipy.stats import geninvgauss

from nnmm_pymc.errors import InputError
from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel

__all__ = ["ConjugateGibbs", "conjugate_family"]

# Relative to the current value (positive), or absolute (probability): where derivatives are taken.
_NODES = {"positive": np.array([1.0, 2.0, 4.0]), "probability": np.array([0.25, 0.75])}
_TOLERANCE = 1e-8


@dataclass_state
class ConjugateGibbsState(StepMethodState):
    pass


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


def _derivatives(conditional: ConditionalModel, value: str) -> tuple[list[Any], Any]:
    """Derivative of every factor in the untransformed variable, and that variable.

    Factors are kept apart where the family is checked: the prior is small beside a likelihood of
    thousands of individuals, and an odd prior must not hide in its rounding error.
    """
    natural = conditional.rvs[value].type(f"{value}_natural")
    densities = [
        conditional.in_natural(conditional.factors[name].sum(), value, natural)
        for name in conditional.factors_of(conditional.values[value])
    ]
    return [pt.grad(density, natural) for density in densities], natural


def _check_elementwise(conditional: ConditionalModel, value: str, family: str) -> Conjugate | None:
    gradients, natural = _derivatives(conditional, value)
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
        variable = model[name]
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
    gradients, natural = _derivatives(conditional, value)
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


class ConjugateGibbs(BlockedStep):
    """Exact draws of variances, probabilities and mixture weights from their full conditionals.

    Parameters
    ----------
    vars : list of variable
        Variables of which no two share a factor of the density; they are drawn together.
    conjugates : list of Conjugate
        What `conjugate_family` found for each.
    model, conditional
        As in `MarkerGibbs`.
    """

    name = "conjugate_gibbs"
    default_blocked = True
    stats_dtypes_shapes: ClassVar[dict[str, Any]] = {}
    _state_class = ConjugateGibbsState

    def __init__(
        self,
        vars,
        *,
        conjugates: Sequence[Conjugate],
        conditional: ConditionalModel,
        model=None,
        blocked: bool = True,
        rng=None,
    ):
        model = pm.modelcontext(model)
        self.vars = get_value_vars_from_user_vars(vars, model)
        self.rng = np.random.default_rng(rng)
        self.conditional, self.conjugates = conditional, tuple(conjugates)
        outputs: list[Any] = []
        leading: list[Any] = []
        for c in self.conjugates:
            gradients, natural = _derivatives(conditional, c.value)
            gradient = pt.sum(gradients, axis=0)
            nodes = [natural.type(f"{c.value}_{m}") for m in range(_n_nodes(c))]
            leading += nodes
            outputs += [graph_replace(gradient, {natural: v}, strict=False) for v in nodes]
        self.read = conditional.compile(outputs, leading=leading)

    def step(self, point):
        self.conditional.refresh(point)
        nodes = [_nodes(c, point[c.value], self.rng) for c in self.conjugates]
        gradients = iter(self.read(point, *(v for group in nodes for v in group)))
        point = point.copy()
        for c, at in zip(self.conjugates, nodes, strict=True):
            point[c.value] = _draw(c, at, [next(gradients) for _ in at], self.rng)
        return point, [{}]


def _n_nodes(c: Conjugate) -> int:
    if c.family == "simplex":
        return 2
    return len(c.statistics) - (c.exponent is not None)


def _nodes(c: Conjugate, value: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    if c.family == "positive":
        base = np.exp(value)
        return [np.asarray(base * u) for u in _NODES["positive"][: _n_nodes(c)]]
    if c.family == "probability":
        return [np.full(np.shape(value), u) for u in _NODES["probability"]]
    size = value.shape[-1] + 1
    shape = (*value.shape[:-1], size)
    even = np.full(shape, 1.0 / size)
    tilted = np.broadcast_to(2.0 * np.arange(1, size + 1) / (size * (size + 1)), shape)
    return [even, np.array(tilted)]


def _draw(c: Conjugate, at, gradients, rng: np.random.Generator) -> np.ndarray:
    """Draw from the full conditional and return it on the scale of the value variable."""
    if c.family == "simplex":
        counts = _simplex_counts(at, gradients)
        _proper(c, counts > -1)
        draw = rng.standard_gamma(counts + 1.0)
        draw = np.maximum(draw / draw.sum(axis=-1, keepdims=True), 1e-300)
        log_draw = np.log(draw)
        # PyMC's simplex transform: the last log ratio is dropped after centring by the mean.
        return log_draw[..., :-1] - log_draw.mean(axis=-1, keepdims=True)
    if c.family == "probability":
        u = _NODES["probability"]
        scaled = np.stack([g * u_m * (1 - u_m) for g, u_m in zip(gradients, u, strict=True)], -1)
        a, b = np.moveaxis(scaled @ np.linalg.inv(_design("probability", u)).T, -1, 0)
        _proper(c, (a > -1) & (b > -1))
        draw = np.clip(rng.beta(a + 1.0, b + 1.0), 1e-300, 1.0 - 1e-16)
        return np.asarray(logit(draw))
    u = _NODES["positive"][: len(at)]
    scaled = np.stack([g * v for g, v in zip(gradients, at, strict=True)], -1)
    design = _design("positive", u)[:, list(c.statistics)]
    eta: dict[int, np.ndarray] = {}
    unknown = list(c.statistics)
    if c.exponent is not None:
        eta[0] = c.exponent
        scaled, design, unknown = scaled - c.exponent[..., None], design[:, 1:], unknown[1:]
    solved = np.moveaxis(scaled @ np.linalg.inv(design).T, -1, 0)
    eta.update(zip(unknown, solved, strict=True))
    return np.asarray(np.log(at[0]) + np.log(_draw_positive(c, eta, rng)))


def _draw_positive(c: Conjugate, eta: dict[int, np.ndarray], rng) -> np.ndarray:
    """Draw v from v^eta_0 exp(-eta_1 / (2v) - eta_2 v / 2), in units of the current value."""
    shape = eta[0] + 1.0
    if c.statistics == (0, 1):
        _proper(c, (shape < 0) & (eta[1] > 0))
        return 0.5 * eta[1] / rng.standard_gamma(-shape)
    if c.statistics == (0, 2):
        _proper(c, (shape > 0) & (eta[2] > 0))
        return rng.standard_gamma(shape) / (0.5 * eta[2])
    chi, psi = np.maximum(eta[1], 1e-290), eta[2]
    _proper(c, psi > 0)
    # Without the term in 1/v the conditional is a gamma; the general sampler fails near there.
    gamma = (shape > 0) & (chi * psi < 1e-14)
    if np.any(gamma):
        draw = rng.standard_gamma(np.where(gamma, shape, 1.0)) / (0.5 * psi)
        rest = _draw_positive(c, {0: eta[0], 1: np.where(gamma, 1.0, chi), 2: psi}, rng)
        return np.where(gamma, draw, rest)
    if np.allclose(shape, 0.5, rtol=0, atol=1e-9):
        # 1/v is inverse Gaussian with mean sqrt(psi/chi) and shape psi.
        return 1.0 / rng.wald(np.sqrt(psi / chi), psi)
    return np.sqrt(chi / psi) * geninvgauss.rvs(shape, np.sqrt(chi * psi), random_state=rng)


def _proper(c: Conjugate, ok: np.ndarray) -> None:
    if not np.all(ok):
        raise InputError(
            f"The full conditional of {c.value!r} ({c.describe()}) is improper; give the variable "
            "a proper prior."
        )

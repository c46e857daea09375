"""`ConjugateGibbs`: exact draws of variances, probabilities and mixture weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.step_methods.compound import BlockedStep, StepMethodState
from pymc.step_methods.state import dataclass_state
from pymc.util import get_value_vars_from_user_vars
from pytensor.graph.replace import graph_replace
from scipy.special import logit
from scipy.stats import geninvgauss

from nnmm_pymc.errors import InputError
from nnmm_pymc.steps.conditional import ConditionalModel, Point
from nnmm_pymc.steps.families import Conjugate, Eta, derivatives, n_nodes, natural_parameters, nodes
from nnmm_pymc.steps.normals import find_normal_statistics
from nnmm_pymc.steps.random_statistics import find_random_statistics
from nnmm_pymc.steps.statistics import find_statistics

__all__ = ["ConjugateGibbs"]


@dataclass_state
class ConjugateGibbsState(StepMethodState):
    pass


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
        self.known = [
            find_statistics(conditional, c)
            or find_random_statistics(conditional, c)
            or find_normal_statistics(conditional, c)
            for c in self.conjugates
        ]
        outputs: list[Any] = []
        leading: list[Any] = []
        for c, known in zip(self.conjugates, self.known, strict=True):
            if known is None:
                gradients, natural = derivatives(conditional, c.value)
                gradient = pt.sum(gradients, axis=0)
                at = [natural.type(f"{c.value}_{m}") for m in range(n_nodes(c))]
                leading += at
                outputs += [graph_replace(gradient, {natural: v}, strict=False) for v in at]
        self.read = conditional.compile(outputs, leading=leading) if outputs else None

    def parameters(self, point: Point) -> list[tuple[Eta, np.ndarray]]:
        """Natural parameters of every variable's conditional, and the unit in which they are."""
        places = [
            nodes(c, point[c.value]) if known is None else []
            for c, known in zip(self.conjugates, self.known, strict=True)
        ]
        leading = [v for group in places for v in group]
        gradients = iter(self.read(point, *leading) if self.read is not None else ())
        return [
            natural_parameters(c, at, [next(gradients) for _ in at])
            if known is None
            else (known.parameters(point), np.ones(()))
            for c, known, at in zip(self.conjugates, self.known, places, strict=True)
        ]

    def step(self, point):
        self.conditional.refresh(point)
        found = self.parameters(point)
        point = point.copy()
        for c, (eta, unit) in zip(self.conjugates, found, strict=True):
            point[c.value] = _draw(c, eta, unit, self.rng)
        return point, [{}]


def _draw(c: Conjugate, eta: Eta, unit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw from the full conditional and return it on the scale of the value variable."""
    if c.family == "simplex":
        _proper(c, eta[0] > -1)
        draw = rng.standard_gamma(eta[0] + 1.0)
        draw = np.maximum(draw / draw.sum(axis=-1, keepdims=True), 1e-300)
        log_draw = np.log(draw)
        # PyMC's simplex transform: the last log ratio is dropped after centring by the mean.
        return log_draw[..., :-1] - log_draw.mean(axis=-1, keepdims=True)
    if c.family == "probability":
        _proper(c, (eta[0] > -1) & (eta[1] > -1))
        draw = np.clip(rng.beta(eta[0] + 1.0, eta[1] + 1.0), 1e-300, 1.0 - 1e-16)
        return np.asarray(logit(draw))
    return np.asarray(np.log(unit) + np.log(_draw_positive(c, eta, rng)))


def _draw_positive(c: Conjugate, eta: Eta, rng) -> np.ndarray:
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

r"""Gibbs update of effects with a spike and a slab that multiply something other than genotypes.

Weights of omics, above all: what they multiply changes with every draw of the missing cells, so the
precision matrix P and linear coefficient h of the likelihood are read anew from the model's
gradient. The draw of one effect given the others is that of `nnmm_pymc.kernels.markers`, with
:math:`t x'x = P_{jj}` and :math:`t x'r = h_j - \sum_{l \ne j} P_{jl} b_l`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pymc.step_methods.compound import StepMethodState
from pymc.step_methods.state import dataclass_state

from nnmm_pymc.errors import InputError
from nnmm_pymc.kernels.markers import dense_sweep
from nnmm_pymc.steps.conditional import ConditionalModel, Point
from nnmm_pymc.steps.gaussian import Quadratic, gaussian_pattern
from nnmm_pymc.steps.gibbs import GibbsStep

__all__ = ["SelectionGibbs"]

# NUTS cannot have more than this instead, as it can of weights without a spike.
MAX_EFFECTS = 2000
# P and h cost far more than a sweep of the effects given them.
SWEEPS = 5


@dataclass_state
class SelectionGibbsState(StepMethodState):
    classes: np.ndarray | None
    current: np.ndarray | None


class SelectionGibbs(GibbsStep):
    """Gibbs step for a `MarkerEffects` variable that multiplies no genotypes.

    Parameters
    ----------
    vars : list of variable
        One `MarkerEffects` variable.
    model, conditional
        As in `MarkerGibbs`.

    Raises
    ------
    InputError
        If the density apart from the prior of the effects is not quadratic in them, or they are
        too many.
    """

    name = "selection_gibbs"
    _state_class = SelectionGibbsState

    def __init__(self, vars, *, conditional: ConditionalModel, **kwargs: Any):
        super().__init__(vars, conditional=conditional, **kwargs)
        self.effects = self.vars[0].name
        own = conditional.effect_factors(self.effects)
        pattern = gaussian_pattern(conditional, [self.effects], without=own, most=MAX_EFFECTS)
        if pattern is None:
            raise InputError(
                f"{self.effects!r} multiplies no genotypes, and the likelihood is not Gaussian in "
                f"it or it has more than {MAX_EFFECTS} elements; give it another prior."
            )
        self.quadratic = Quadratic(conditional, [self.effects], pattern, without=own)
        self.parameters = conditional.compile(conditional.effect_parameters(self.effects))
        self.mixture = conditional.mixtures.get(self.effects)

    def setup_chain(self, rng, tune: int, draws: int) -> None:
        super().setup_chain(rng, tune, draws)
        if self.mixture is not None:
            self.mixture.current = None

    def step(self, point: Point):
        self.conditional.refresh(point)
        old = point[self.effects]
        precision, linear = self.quadratic(point)
        weights, variances = (
            np.broadcast_to(p, (*old.shape, p.shape[-1])).reshape(old.size, 1, -1)
            for p in self.parameters(point)
        )
        new, classes = np.array(old).ravel(), np.empty(old.size, np.int8)
        for _ in range(SWEEPS):
            uniforms, normals = self.rng.random(old.size), self.rng.standard_normal(old.size)
            dense_sweep(precision, linear, weights, variances, new, classes, uniforms, normals)
        draw = new.reshape(old.shape)
        if self.mixture is not None:
            self.mixture.hold(draw, classes.reshape(old.shape))
        return point | {self.effects: draw}, [{}]

    @property
    def classes(self) -> np.ndarray | None:
        """Class of each effect where the slab has several (part of the sampling state)."""
        return None if self.mixture is None else self.mixture.classes

    @classes.setter
    def classes(self, value: np.ndarray | None) -> None:
        if self.mixture is not None and value is not None:
            self.mixture.hold(self.mixture.current, value)

    @property
    def current(self) -> np.ndarray | None:
        """Effects to which the classes belong (part of the sampling state)."""
        return None if self.mixture is None else self.mixture.current

    @current.setter
    def current(self, value: np.ndarray | None) -> None:
        if self.mixture is not None:
            self.mixture.current = value

"""What the steps are held against: the log density of the model as its author wrote it.

Nothing here goes through `ConditionalModel`, so that a fault in it shows. Where a slab has several
normals, updates are given the class of every effect: the density of the effects is then that of
effects and classes together, from the two parameters of their `MarkerEffects` variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pymc as pm

from nnmm_pymc.steps.conditional import STEP_MODE, Point
from nnmm_pymc.steps.terms import marker_effects_of

__all__ = ["Change", "Classes", "Reference", "State"]

# Class of every effect by the name of the effects, -1 for one that is zero.
Classes = Mapping[str, np.ndarray]

# Relative to the sum of the absolute terms: a difference below it is rounding error.
ROUNDING = 1e-9


class Reference:
    """Log density of a model, factor by factor, Jacobians of all transforms included.

    Parameters
    ----------
    model : pymc.Model
    mode
        Of its compilation; by default little is compiled.
    """

    def __init__(self, model: pm.Model, mode: Any = STEP_MODE):
        self.model, self.mode = model, mode
        self.mixtures: dict[str, Any] = {}
        for rv in marker_effects_of(model):
            parameters: Any = rv.owner.inputs[2:4]
            if any(p.type.shape[-1] != 1 for p in parameters):
                self.mixtures[rv.name] = self.compiled(model.replace_rvs_by_values(parameters))
        variables = [*model.basic_RVs, *model.potentials]
        plain = [v for v in variables if v.name not in self.mixtures]
        self._plain = [v.name for v in plain]
        self._densities = self.compiled(model.logp(vars=plain, sum=False))

    def compiled(self, outputs: Any) -> Any:
        """Function of a point."""
        return self.model.compile_fn(
            outputs, inputs=self.model.value_vars, mode=self.mode, on_unused_input="ignore"
        )

    @cached_property
    def variables(self) -> dict[str, str]:
        """Names of the free variables by those of their value variables."""
        return {self.model.rvs_to_values[rv].name: rv.name for rv in self.model.free_RVs}

    def factors(self, point: Point, classes: Classes) -> dict[str, np.ndarray]:
        """Log densities, element by element, of every random variable and potential."""
        with np.errstate(all="ignore"):
            found = dict(zip(self._plain, self._densities(point), strict=True))
            for name in self.mixtures:
                found[name] = self._joint(name, point, classes[name])
        return found

    def _parameters(self, name: str, point: Point) -> tuple[np.ndarray, np.ndarray]:
        """Weights and variances of the normals of every effect, (..., class)."""
        weights, variances = self.mixtures[name](point)
        n_classes = max(weights.shape[-1], variances.shape[-1])
        shape = (*np.shape(point[name]), n_classes)
        return np.broadcast_to(weights, shape), np.broadcast_to(variances, shape)

    def _joint(self, name: str, point: Point, classes: np.ndarray) -> np.ndarray:
        weights, variances = self._parameters(name, point)
        at = np.maximum(classes, 0)[..., None]
        weight, variance = (np.take_along_axis(a, at, -1)[..., 0] for a in (weights, variances))
        slab = np.log(weight) - 0.5 * (np.log(2 * np.pi * variance) + point[name] ** 2 / variance)
        return np.where(classes < 0, np.log(1.0 - weights.sum(axis=-1)), slab)

    def draw_classes(self, point: Point, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The class of every effect, from its distribution given effect and parameters."""
        drawn = {}
        for name in self.mixtures:
            weights, variances = self._parameters(name, point)
            with np.errstate(divide="ignore"):
                log = np.log(weights) - 0.5 * np.log(variances)
            log = log - 0.5 * point[name][..., None] ** 2 / variances
            chosen = np.argmax(log + rng.gumbel(size=log.shape), axis=-1)
            drawn[name] = np.where(point[name] == 0.0, -1, chosen)
        return drawn


@dataclass(frozen=True)
class Change:
    """A difference of log densities, and the size of the terms that it was taken from."""

    value: float
    size: float

    def misfit(self, implied: float, slack: float = 0.0) -> float:
        """Relative difference of what an update implies; `slack` is added to the denominator."""
        scale = abs(self.value) + ROUNDING * self.size + slack
        misfit = abs(implied - self.value) / scale
        return float(misfit) if np.isfinite(misfit) else np.inf


@dataclass(frozen=True, eq=False)
class State:
    """Where an update is looked at."""

    reference: Reference
    point: Point
    classes: Classes
    rng: np.random.Generator

    def change(
        self, new: Point, classes: Classes | None = None, without: str | None = None
    ) -> Change:
        """Log density with some variables (and classes) moved, less that of the state.

        One factor may be left out.
        """
        after = self.reference.factors(self.point | new, {**self.classes, **(classes or {})})
        before = self.reference.factors(self.point, self.classes)
        names = [n for n in after if n != without]
        # Two states that are both impossible differ by nothing that is a number: a misfit.
        with np.errstate(invalid="ignore"):
            value = sum(np.sum(after[n] - before[n]) for n in names)
        size = sum(np.abs(f[n]).sum() for f in (after, before) for n in names)
        return Change(float(value), float(size))

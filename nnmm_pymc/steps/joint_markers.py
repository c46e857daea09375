"""`JointMarkerGibbs`: the step that draws marker effects on traits that depend on each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnmm_pymc.errors import InputError
from nnmm_pymc.joint_effects import patterns_of
from nnmm_pymc.kernels.genotypes import masked_gram
from nnmm_pymc.kernels.joint import coupled_sweep, joint_sweep
from nnmm_pymc.kernels.markers import BLOCK
from nnmm_pymc.steps.conditional import ConditionalModel
from nnmm_pymc.steps.correlated import find_correlated, is_multivariate
from nnmm_pymc.steps.joint_scale import find_joint_scale
from nnmm_pymc.steps.markers import MarkerGibbs, per_effect
from nnmm_pymc.steps.scaled import read_scaled
from nnmm_pymc.steps.terms import MarkerTerm

__all__ = ["JointMarkerGibbs", "is_coupled"]


def is_coupled(conditional: ConditionalModel, term: MarkerTerm) -> bool:
    """Whether the effects of a marker on several traits depend on each other."""
    if term.effects in conditional.joint_effects:
        return True
    return any(is_multivariate(conditional, name) for name in conditional.factors_of(term.held))


class JointMarkerGibbs(MarkerGibbs):
    """Gibbs step for marker effects on several traits, with joint effects or joint residuals.

    One pass over the markers draws, for `JointMarkerEffects`, the pattern of each marker and then
    its effects; for `MarkerEffects` with correlated residuals the effect on each trait given those
    on the others (`nnmm_pymc.kernels.joint`).

    Parameters
    ----------
    vars, model, conditional
        As in `MarkerGibbs`.

    Raises
    ------
    InputError
        If the likelihood is not Gaussian with one covariance matrix for all individuals.
    """

    name = "joint_marker_gibbs"
    scale: Any
    residuals: Any

    def _inspect_likelihood(self) -> None:
        reader = find_correlated(self.conditional, self.term)
        if reader is None:
            raise InputError(
                f"The likelihood of {self.term.value!r} is not Gaussian with the same residual "
                "covariance for all individuals, which joint effects of markers need."
            )
        self.residuals = reader
        self.group = reader.group
        masks = [(self.group == g).astype(np.float32) for g in range(int(self.group.max()) + 1)]
        term = self.term
        self.gram = np.stack([masked_gram(term.dosages, term.centre, m, BLOCK) for m in masks])
        self.genotypes = (
            term.dosages,
            term.packed.dosages,
            term.packed.starts,
            term.packed.missing,
            term.centre,
        )

    def _compile(self) -> None:
        name, conditional = self.term.effects, self.conditional
        self.patterns: np.ndarray | None = None
        if name in conditional.joint_effects:
            rv: Any = conditional.rvs[name]
            self.patterns = patterns_of(rv)
            inputs = [rv.owner.inputs[2], rv.owner.inputs[4]]
            parameters = conditional.conditional.replace_rvs_by_values(inputs)
        else:
            parameters = conditional.effect_parameters(name)
        self.parameters = [read_scaled(conditional, graph) for graph in parameters]

    def _find_scale(self) -> Any:
        return find_joint_scale(self.conditional, self.term.effects)

    def step(self, point):
        self.conditional.refresh(point)
        term = self.term
        residual, omega, first, second = self.read(point)
        before = residual.copy()
        effects = np.array(point[term.effects])
        classes = np.empty(effects.shape, np.int8)
        data = (self.genotypes, self.gram, self.group, omega, residual)
        p = len(effects)
        if self.patterns is not None:
            shares = np.broadcast_to(first, (p, len(self.patterns)))
            numbers = self.rng.random((p, 1)), self.rng.standard_normal(effects.shape)
            joint_sweep(*data, shares, self.patterns, second, effects, *numbers)
        else:
            prior = per_effect(first, effects.shape), per_effect(second, effects.shape)
            numbers = self.rng.random(effects.shape), self.rng.standard_normal(effects.shape)
            coupled_sweep(*data, *prior, effects, classes, *numbers)
        value = self._new_value(effects, before, residual)
        point = point.copy()
        if self.scale is not None:
            factors = self.scale.move(point, value, residual, omega, self.group, self.rng)
            effects, value = effects * factors, value * factors
        term.hold(effects, value)
        if self.mixture is not None:
            self.mixture.hold(effects, classes)
        point[term.effects] = effects
        return point, [{self.stat: np.count_nonzero(effects) / effects.shape[1]}]

"""The model as every step but the marker sweep sees it: genetic values are numbers, not products.

In ``pm.do(model, {genetic value: held})`` the genotypes are gone. The held value is a shared
variable that follows the marker effects of the point, so a function compiled here costs the same
for ten markers as for a million.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pymc.distributions.continuous import FlatRV, HalfFlatRV
from pymc.pytensorf import compile as pymc_compile
from pytensor.compile.mode import Mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors
from pytensor.link.vm import VMLinker

from nnmm_pymc.errors import InputError
from nnmm_pymc.joint_effects import joint_effects_of
from nnmm_pymc.steps.bounds import liabilities_of
from nnmm_pymc.steps.effect_prior import EffectPrior, faults
from nnmm_pymc.steps.terms import (
    HeldTerm,
    MarkerTerm,
    RandomTerm,
    find_random_terms,
    find_terms,
    marker_effects_of,
)

__all__ = ["ConditionalModel", "PointFunction", "gradient", "in_order"]

Point = dict[str, np.ndarray]

# For functions that run a few times: neither rewritten nor compiled, so nothing is waited for.
QUICK_MODE = Mode(linker=VMLinker(use_cloop=False, c_thunks=False), optimizer=None)  # type: ignore[arg-type]
# For functions that run once an iteration on whole arrays: NumPy does the work, and a minute of
# compilation would buy a millisecond. Fusing element-wise nodes pays only where they are compiled.
STEP_MODE = Mode(linker=VMLinker(use_cloop=False, c_thunks=False), optimizer="fast_run").excluding(
    "fusion", "inplace", "BlasOpt"
)


def in_order() -> Any:
    """Context in which what numba compiles for PyTensor adds in the order that is written.

    Otherwise the order, and with it the last digit, depends on what else the process has compiled
    or read from the cache (`nnmm_pymc.kernels.jit`).
    """
    return pytensor.config.change_flags(numba__fastmath=False)


class PointFunction:
    """A compiled function of a point, with further leading arguments."""

    def __init__(self, inputs: dict[str, Variable], outputs, leading=(), mode=None):
        needed = set(ancestors(outputs))
        self.names = [name for name, variable in inputs.items() if variable in needed]
        self.function: Any = pytensor.function(
            [*leading, *(inputs[name] for name in self.names)],
            outputs,
            mode=STEP_MODE if mode is None else mode,
            on_unused_input="ignore",
        )
        self.function.trust_input = True

    def __call__(self, point: Point, *leading: np.ndarray) -> list[np.ndarray]:
        return self.function(*leading, *(point[name] for name in self.names))


def gradient(cost: Any, wrt: Any) -> Any:
    """Gradient graph; zero where `wrt` does not enter."""
    return pt.grad(cost, wrt, disconnected_inputs="ignore")


class ConditionalModel:
    """A model given its genetic values, taken apart into the factors of its density.

    Parameters
    ----------
    model : pymc.Model

    Attributes
    ----------
    terms : list of HeldTerm
        Marker effects that multiply genotypes, then random effects.
    effects : list of str
        All `MarkerEffects`, also those that multiply no genotypes.
    joint_effects : list of str
        All `JointMarkerEffects`.
    effect_priors, mixtures : dict of str to EffectPrior
        Of all of them, and of those whose slab has several normals.
    values : dict of str to variable
        Value variables of the conditional model by name (the names of the original model).
    rvs : dict of str to variable
        Free random variables of the conditional model by the name of their *value* variable.
    factors : dict of str to variable
        Log density of each random variable and potential, without Jacobians. That of marker effects
        is in two parts (`EffectPrior`).
    settlers : list of callable
        Put what the data bound between its bounds at draws from the prior.
    residuals : dict of str to object
        How residuals of normal variables are read, of those that were asked for (`linear`); None
        where they cannot be.
    """

    def __init__(self, model: pm.Model):
        self.model = model
        self.residuals: dict[str, Any] = {}
        self.settlers: list[Callable[[Point, np.random.Generator], None]] = [
            liability.settle for liability in liabilities_of(model)
        ]
        self.terms: list[HeldTerm] = [*find_terms(model), *find_random_terms(model)]
        # Support points of the priors.
        self.support = model.initial_point()
        shapes = {
            t.value: (t.n_individuals, *self.support[t.effects].shape[1:]) for t in self.terms
        }
        if self.terms:
            self.conditional = pm.do(
                model, {name: np.zeros(s) for name, s in shapes.items()}, prune_vars=False
            )
        else:
            self.conditional = model
        for term in self.terms:
            term.held = self.conditional[term.value]
        self.values = {v.name: v for v in self.conditional.value_vars}
        self.rvs = {self.conditional.rvs_to_values[rv].name: rv for rv in self.conditional.free_RVs}
        variables = [*self.conditional.basic_RVs, *self.conditional.potentials]
        logps = self.conditional.logp(vars=variables, jacobian=False, sum=False)
        self.factors = {v.name: logp for v, logp in zip(variables, logps, strict=True)}
        self.effects = [rv.name for rv in marker_effects_of(model)]
        self.joint_effects = [rv.name for rv in joint_effects_of(model)]
        self.effect_priors = {name: self._effect_prior(name) for name in self.effects}
        self.mixtures = {name: p for name, p in self.effect_priors.items() if p.is_mixture}
        for name, prior in self.effect_priors.items():
            inclusion, slab = self.effect_factors(name)
            self.factors[inclusion] = prior.log_inclusion
            self.factors[slab] = prior.log_slab
        self._ancestors = {name: set(ancestors([logp])) for name, logp in self.factors.items()}
        self._check_effects_used_once()

    @staticmethod
    def effect_factors(effects: str) -> tuple[str, str]:
        """Names of the two factors of a prior of marker effects: inclusion and slab."""
        return effects, f"{effects} slab"

    def _effect_prior(self, effects: str) -> EffectPrior:
        weights, variances = self.effect_parameters(effects)
        shapes = self.compile([weights.shape[-1], variances.shape[-1]], mode=QUICK_MODE)
        n_classes = int(max(shapes(self.support)))
        shape = self.support[effects].shape
        return EffectPrior(self.values[effects], weights, variances, shape, n_classes)

    def effect_parameters(self, effects: str) -> list[Any]:
        """Weights and variances of the normals of marker effects, of the value variables."""
        return self.conditional.replace_rvs_by_values(list(self.rvs[effects].owner.inputs[2:4]))

    def _check_effects_used_once(self) -> None:
        for term in self.terms:
            own = set(self.effect_factors(term.effects))
            others = set(self.factors_of(self.values[term.effects])) - own
            if others:
                raise InputError(
                    f"Effects {term.effects!r} enter {sorted(others)} beside the genetic "
                    f"value {term.value!r}; use them through that genetic value only."
                )

    def model_value(self, value_name: str) -> Variable:
        """Value variable of the original model."""
        return next(v for v in self.model.value_vars if v.name == value_name)

    def term_of(self, value_name: str) -> MarkerTerm | None:
        """The marker term whose effects are `value_name`, if there is one."""
        return next((t for t in self.marker_terms if t.effects == value_name), None)

    @property
    def marker_terms(self) -> list[MarkerTerm]:
        """Terms of marker effects."""
        return [t for t in self.terms if isinstance(t, MarkerTerm)]

    @property
    def random_terms(self) -> list[RandomTerm]:
        """Terms of random effects."""
        return [t for t in self.terms if isinstance(t, RandomTerm)]

    def factors_of(self, variable: Variable) -> list[str]:
        """Names of the factors in which a value variable or held value occurs."""
        return [name for name, nodes in self._ancestors.items() if variable in nodes]

    def log_density(self, *variables: Variable) -> Any:
        """Sum of all factors in which any of the variables occurs, without Jacobians."""
        names = {name for v in variables for name in self.factors_of(v)}
        return pt.sum([self.factors[name].sum() for name in sorted(names)])

    def transform_of(self, value_name: str) -> Any:
        """Transform of a free variable, None if it has none."""
        return self.conditional.rvs_to_transforms[self.rvs[value_name]]

    def natural(self, value_name: str) -> Any:
        """Untransformed value of a free variable as a graph of the value variables."""
        rv, value = self.rvs[value_name], self.values[value_name]
        transform = self.transform_of(value_name)
        if transform is None:
            return value
        return self._of_values(transform.backward(value, *rv.owner.inputs))

    def _of_values(self, graph: Any) -> Any:
        return self.conditional.replace_rvs_by_values([graph])[0]

    def _forward(self, value_name: str, natural: Any) -> Any:
        rv, transform = self.rvs[value_name], self.transform_of(value_name)
        if transform is None:
            return natural
        return self._of_values(transform.forward(natural, *rv.owner.inputs))

    def deterministic(self, name: str) -> Any:
        """A named deterministic as a graph of value variables and held genetic values."""
        variable: Any = self.conditional[name]
        if isinstance(variable, SharedVariable):
            return pt.as_tensor(variable) * 1.0
        return self.conditional.replace_rvs_by_values([variable])[0]

    def in_natural(self, graph: Any, value_name: str, natural: Variable) -> Any:
        """The graph with a value variable expressed by the untransformed variable `natural`."""
        forward = self._forward(value_name, natural)
        return graph_replace(graph, {self.values[value_name]: forward}, strict=False)

    def in_value(self, graph: Any, value_name: str, value: Variable) -> Any:
        """The graph with a value variable replaced by `value`, on the same scale."""
        return graph_replace(graph, {self.values[value_name]: value}, strict=False)

    def to_value(self, value_name: str, natural: np.ndarray, point: Point) -> np.ndarray:
        """Transform an untransformed value to the scale of its value variable, the rest given."""
        forward = self._forward(value_name, pt.as_tensor(np.asarray(natural, dtype=float)))
        return np.asarray(self.compile([forward], mode=QUICK_MODE)(point)[0])

    def compile(self, outputs, leading: Sequence[Variable] = (), mode=None) -> PointFunction:
        """Compile graphs of value variables and held values to a function of a point."""
        return PointFunction(self.values, outputs, leading, mode)

    def refresh(self, point: Point) -> None:
        """Make every held value that of the effects of `point`."""
        for term in self.terms:
            if _has_changed(point[term.effects], term.current):
                own = np.array(point[term.effects])
                term.hold(own, term.exact_value(own))
        for name, mixture in self.mixtures.items():
            if _has_changed(point[name], mixture.current):
                mixture.hold(np.array(point[name]), self._likeliest[name](point)[0])

    @cached_property
    def _likeliest(self) -> dict[str, PointFunction]:
        return {
            name: self.compile([mixture.likeliest], mode=QUICK_MODE)
            for name, mixture in self.mixtures.items()
        }

    @cached_property
    def check_points(self) -> list[Point]:
        """Points at which assumptions about the density are checked.

        Two prior draws, and the second again with every marker effect included that may be: a
        variance of effects that are all zero could be anything.
        """
        points = self.prior_points(seed=20_260, size=2)
        self.check_effect_parameters(points)
        rng = np.random.default_rng(20_260)
        included = dict(points[1])
        for name in self.effects:
            read = self.compile([self.effect_parameters(name)[0]], mode=QUICK_MODE)
            effects = included[name]
            open_ = np.broadcast_to(read(included)[0].max(axis=-1) > 0.0, effects.shape)
            drawn = rng.normal(0, 0.1, effects.shape)
            included[name] = np.where(open_ & (effects == 0.0), drawn, effects)
        return [*points, included]

    def check_effect_parameters(self, points: Sequence[Point]) -> None:
        """Refuse inclusion probabilities and slab variances that are none at some prior draw."""
        for name in self.effects:
            read = self.compile(self.effect_parameters(name), mode=QUICK_MODE)
            for point in points:
                with np.errstate(all="ignore"):
                    wrong = faults(*read(point))
                if wrong is not None:
                    raise InputError(f"Prior of {name!r}: at a draw from the prior {wrong}.")

    def prior_points(self, seed: int, size: int) -> list[Point]:
        """Points drawn from the prior.

        A variable whose prior has no draws (flat), or none that arithmetic can hold (an inverse
        gamma of 0.001), starts around its support point instead, one unit on its own scale away.
        """
        improper = {
            value for value, rv in self.rvs.items() if isinstance(rv.owner.op, FlatRV | HalfFlatRV)
        }
        enough = max(10, size)
        with np.errstate(all="ignore"):
            try:
                points = self._drawn(seed, enough, improper)
            except ZeroDivisionError:
                improper |= {v for v in set(self.rvs) - improper if self._fails(seed, v)}
                points = self._drawn(seed, enough, improper)
            extreme = {
                v for p in points for v, x in p.items() if not _holdable(x, self._bounded(v))
            }
            if not extreme <= improper:
                points = self._drawn(seed, size, improper | extreme)
        rng = np.random.default_rng(seed)
        points = points[:size]
        for point in points:
            for settle in self.settlers:
                settle(point, rng)
        return points

    def _fails(self, seed: int, value_name: str) -> bool:
        try:
            self._drawn(seed, 10, set(self.rvs) - {value_name})
        except ZeroDivisionError:
            return True
        return False

    def _bounded(self, value_name: str) -> bool:
        return self.transform_of(value_name) is not None

    def _drawn(self, seed: int, size: int, held: set[str]) -> list[Point]:
        """Prior draws on the scale of the value variables, those of `held` near their supports."""
        rng = np.random.default_rng(seed)
        names = {value: rv.name for value, rv in self.rvs.items()}
        # In the order of the model: that of a set differs between processes.
        held_names = [v for v in self.rvs if v in held]
        natural = {v: self.compile([self.natural(v)], mode=QUICK_MODE) for v in held_names}
        fixed = {names[v]: natural[v](self.support)[0] for v in held_names}
        model = pm.do(self.model, fixed, prune_vars=False) if fixed else self.model
        free = [v for v in names if v not in held]
        outputs = []
        for value in free:
            rv = model[names[value]]
            transform = model.rvs_to_transforms[rv]
            outputs.append(rv if transform is None else transform.forward(rv, *rv.owner.inputs))
        # Distributions with a graph of their own would have it compiled, whatever the mode.
        with pytensor.config.change_flags(cxx=""):
            draw = pymc_compile([], outputs, random_seed=seed, mode=QUICK_MODE)
        points = []
        for _ in range(size):
            point = {
                v: self.support[v] + rng.normal(size=self.support[v].shape) for v in held_names
            }
            for v in held_names:
                model[names[v]].set_value(natural[v](self.support | point)[0])
            drawn = dict(zip(free, map(np.asarray, draw()), strict=True))
            points.append({v: (point | drawn)[v] for v in self.rvs})
        return points


def _has_changed(effects: np.ndarray, current: np.ndarray | None) -> bool:
    return effects is not current and (current is None or not np.array_equal(effects, current))


def _holdable(x: np.ndarray, transformed: bool) -> bool:
    """Whether a draw is finite and, on a log or log-odds scale, within e^-50 and e^50."""
    return bool(np.all(np.isfinite(x))) and not (transformed and np.abs(x).max(initial=0) > 50)

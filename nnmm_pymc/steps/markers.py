"""`MarkerGibbs`: the step that draws all marker effects of an equation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.step_methods import STEP_METHODS
from pymc.step_methods.compound import Competence, StepMethodState
from pymc.step_methods.state import dataclass_state

from nnmm_pymc.distributions import MarkerEffectsRV
from nnmm_pymc.errors import InputError
from nnmm_pymc.kernels.genotypes import masked_gram
from nnmm_pymc.kernels.markers import BLOCK, sweep
from nnmm_pymc.kernels.scale import moved_value, scale_sums
from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, PointFunction, gradient
from nnmm_pymc.steps.gibbs import GibbsStep
from nnmm_pymc.steps.normals import ResidualReader, find_residuals
from nnmm_pymc.steps.scale import ScaleMove, find_scale
from nnmm_pymc.steps.scaled import read_scaled
from nnmm_pymc.steps.terms import MarkerTerm

__all__ = ["MarkerGibbs", "per_effect", "sweep_in_threads"]

# Genetic values follow the float32 residuals; after this many sweeps they are computed anew.
REFRESH_EVERY = 100


@dataclass_state
class MarkerGibbsState(StepMethodState):
    effects: np.ndarray | None
    held: np.ndarray | None
    classes: np.ndarray | None
    sweeps: int


class MarkerGibbs(GibbsStep):
    r"""Gibbs step for the marker effects of one equation, all responses in one pass.

    With everything else given, the log density is quadratic in the genetic value g, with a
    diagonal second derivative: for a response with residual precision t its gradient at the
    current g is t times the residual. So the residuals and precisions are read from the model's
    own gradient, whatever the model; prior inclusion probabilities and slab variances are read
    from the parameters of the `MarkerEffects` variable. The sweep over the markers is
    `nnmm_pymc.kernels.markers.sweep`.

    Parameters
    ----------
    vars : list of variable
        The one `MarkerEffects` variable to draw.
    model : pymc.Model, optional
        Taken from the context.
    conditional : ConditionalModel, optional
        Shared with the other steps of the same chain; made anew by default.
    threads : int
        Responses are dealt to so many threads; the result does not depend on it.

    Raises
    ------
    InputError
        If the likelihood is not Gaussian and independent given the genetic value.

    Notes
    -----
    Assigned by itself in ``nnmm_pymc.sample``, and in ``pm.sample`` too.
    """

    name = "marker_gibbs"
    _state_class = MarkerGibbsState

    def __init__(
        self,
        vars,
        *,
        model=None,
        conditional: ConditionalModel | None = None,
        threads: int = 1,
        blocked: bool = True,
        rng=None,
        initial_point=None,
        compile_kwargs=None,
    ):
        super().__init__(vars, model=model, conditional=conditional, blocked=blocked, rng=rng)
        if len(self.vars) != 1:
            raise InputError("MarkerGibbs draws one MarkerEffects variable; use one step for each.")
        term = self.conditional.term_of(self.vars[0].name)
        if term is None:
            raise InputError(f"{self.vars[0].name!r} is not a MarkerEffects variable.")
        self.term: MarkerTerm = term
        self.mixture = self.conditional.mixtures.get(term.effects)
        self.stat = f"{term.effects}_included"
        # Of the instance: two terms of one model must not report under one name.
        self.stats_dtypes_shapes = {self.stat: (np.float64, [])}  # type: ignore[misc]
        self.stats_dtypes = [{self.stat: np.float64}]
        self.sweeps, self.threads = 0, threads
        self._inspect_likelihood()
        self._compile()
        self.scale = self._find_scale()

    def _find_scale(self) -> ScaleMove | None:
        return find_scale(self.conditional, self.term.effects)

    def _graphs(self) -> tuple[Any, Any]:
        """Gradient and diagonal second derivative of the log density in g, as matrices."""
        held = self.term.held
        slope = gradient(self.conditional.log_density(held), held)
        return slope, -gradient(slope.sum(), held)

    def _inspect_likelihood(self) -> None:
        """Check that the likelihood is Gaussian in g and find which individuals count for what."""
        held = self.term.held
        if not self.conditional.factors_of(held):
            raise InputError(f"Genetic value {self.term.value!r} enters no likelihood.")
        slope, curvature = self._graphs()
        probe = held.type("probe")
        product = -gradient((slope * probe).sum(), held)
        function = self.conditional.compile(
            [slope, curvature, product], leading=[probe], mode=QUICK_MODE
        )
        rng = np.random.default_rng(0)
        keep = held.get_value()
        shape = keep.shape
        patterns = []
        for point in self.conditional.check_points:
            sign = rng.choice([-1.0, 1.0], size=shape)
            held.set_value(np.zeros(shape))
            curve = np.abs(function(point, sign)[1])
            spread = 1.0 / np.sqrt(np.where(curve > 0, curve, 1.0))
            at, shift = spread * rng.normal(size=(2, *shape))
            held.set_value(at)
            g0, curve, along = function(point, sign)
            held.set_value(at + shift)
            g1, curve1, _ = function(point, sign)
            scale = np.abs(curve).max() + 1e-300
            independent = np.allclose(along, curve * sign, rtol=1e-6, atol=1e-9 * scale)
            quadratic = np.allclose(curve, curve1, rtol=1e-6, atol=1e-9 * scale) and np.allclose(
                g0 - g1, curve * shift, rtol=1e-5, atol=1e-6 * np.abs(g0).max()
            )
            if not (independent and quadratic):
                raise InputError(
                    f"The likelihood of {self.conditional.factors_of(held)} is not Gaussian and "
                    f"independent between individuals given {self.term.value!r}, which the "
                    "Gibbs update of marker effects needs."
                )
            patterns.append(curve.reshape(shape[0], -1))
        held.set_value(keep)
        self._set_patterns(patterns)

    def _set_patterns(self, curvatures: list[np.ndarray]) -> None:
        counts = curvatures[0] > 0
        self.first = np.argmax(counts, axis=0)
        columns = np.arange(counts.shape[1])
        for curvature in curvatures:
            unit = np.where(counts, curvature[self.first, columns], 0.0)
            if not np.allclose(curvature, unit, rtol=1e-6, atol=0.0):
                raise InputError(
                    f"The residual variance of {self.term.value!r} differs between individuals, "
                    "which the Gibbs update of marker effects does not support."
                )
        masks, self.pattern = np.unique(counts.T, axis=0, return_inverse=True)
        self.masks = np.ascontiguousarray(masks, dtype=np.float32)
        self.gram = np.stack(
            [masked_gram(self.term.dosages, self.term.centre, mask, BLOCK) for mask in self.masks]
        )

    def _compile(self) -> None:
        slope, curvature = self._graphs()
        n = self.term.dosages.shape[1]
        slope, curvature = slope.reshape((n, -1)), curvature.reshape((n, -1))
        precision = curvature[self.first, np.arange(len(self.first))]
        scale = pt.where(precision > 0, precision, 1.0)
        residual = (slope / scale).T.astype("float32")
        parameters = self.conditional.effect_parameters(self.term.effects)
        found = find_residuals(self.conditional, self.term)
        if found is not None:
            reference = self.conditional.compile([residual, precision], mode=QUICK_MODE)
            found = found if self._agrees(found, reference) else None
        self.residuals: ResidualReader | PointFunction = (
            found if found is not None else self.conditional.compile([residual, precision])
        )
        self.parameters = [read_scaled(self.conditional, graph) for graph in parameters]

    def _agrees(self, residuals: ResidualReader, reference: PointFunction) -> bool:
        """Whether residuals and precisions are those of the model's gradient."""
        for point in self.conditional.check_points:
            self.conditional.refresh(point)
            pairs = zip(residuals(point), reference(point), strict=True)
            for given, wanted in pairs:
                scale = np.abs(wanted).max() + 1e-300
                if not np.allclose(given, wanted, rtol=1e-5, atol=1e-6 * scale):
                    return False
        return True

    def read(self, point) -> list[np.ndarray]:
        """Residuals, precisions, and weights and variances of the prior at a point."""
        return [*self.residuals(point), *(read(point) for read in self.parameters)]

    def setup_chain(self, rng, tune: int, draws: int) -> None:
        super().setup_chain(rng, tune, draws)
        self.sweeps = 0
        self.term.current = None
        if self.mixture is not None:
            self.mixture.current = None

    def step(self, point):
        self.conditional.refresh(point)
        term = self.term
        residual, precision, weights, variances = self.read(point)
        residual = np.ascontiguousarray(residual)
        before = residual.copy()
        old = point[term.effects]
        effects = np.array(old).reshape(len(term.dosages), -1)
        classes = np.empty(effects.shape, np.int8)
        arrays = (
            self.pattern,
            residual,
            precision,
            per_effect(weights, old.shape),
            per_effect(variances, old.shape),
            effects,
            classes,
            self.rng.random(effects.shape),
            self.rng.standard_normal(effects.shape),
        )
        self._sweep(*arrays)
        new = effects.reshape(old.shape)
        value = self._new_value(new, before, residual)
        point = point.copy()
        if self.scale is not None:
            genetic = value.reshape(len(value), -1)
            squares, products = scale_sums(genetic, residual, self.masks, self.pattern)
            factor = self.scale.move(point, precision * squares, precision * products, self.rng)
            new, value = new * factor, value * factor
        term.hold(new, value)
        if self.mixture is not None:
            self.mixture.hold(new, classes.reshape(old.shape))
        point[term.effects] = new
        return point, [{self.stat: np.count_nonzero(new) / max(1, effects.shape[1])}]

    def _new_value(
        self, effects: np.ndarray, before: np.ndarray, residual: np.ndarray
    ) -> np.ndarray:
        """Genetic value of the effects after a sweep; residuals are (response, individual)."""
        self.sweeps += 1
        # Often at first: steps down from a far start leave the largest rounding errors.
        if self.sweeps % REFRESH_EVERY == 0 or self.sweeps & (self.sweeps - 1) == 0:
            return self.term.exact_value(effects)
        held = self.term.held.get_value(borrow=True)
        return moved_value(held.reshape(len(held), -1), before, residual).reshape(held.shape)

    def _sweep(self, *arrays) -> None:
        term = self.term
        packed = (term.packed.dosages, term.packed.starts, term.packed.missing)
        data = (term.dosages, *packed, term.centre, self.gram, self.masks)
        sweep_in_threads(self.threads, data, *arrays)

    @property
    def effects(self) -> np.ndarray | None:
        """Effects to which the held genetic value belongs (part of the sampling state)."""
        return self.term.current

    @effects.setter
    def effects(self, value: np.ndarray | None) -> None:
        self.term.current = value

    @property
    def held(self) -> np.ndarray:
        """Held genetic value (part of the sampling state)."""
        return self.term.held.get_value()

    @held.setter
    def held(self, value: np.ndarray) -> None:
        self.term.held.set_value(value)

    @property
    def classes(self) -> np.ndarray | None:
        """Class of each effect where the slab has several (part of the sampling state)."""
        return None if self.mixture is None else self.mixture.classes

    @classes.setter
    def classes(self, value: np.ndarray | None) -> None:
        if self.mixture is not None and value is not None:
            self.mixture.hold(self.term.current, value)

    @staticmethod
    def competence(var, has_grad):
        rv = pm.modelcontext(None).values_to_rvs.get(var, var)
        if rv.owner is not None and isinstance(rv.owner.op, MarkerEffectsRV):
            return Competence.IDEAL
        return Competence.INCOMPATIBLE


def sweep_in_threads(
    threads: int,
    data: tuple[Any, ...],
    pattern: np.ndarray,
    residual: np.ndarray,
    precision: np.ndarray,
    *by_marker: np.ndarray,
) -> None:
    """Sweep over all responses, each thread with some of them: they do not depend on others.

    The arrays are those of `nnmm_pymc.kernels.markers.sweep`, in its order.
    """
    if min(threads, len(pattern)) == 1:
        sweep(*data, pattern, residual, precision, *by_marker)
        return
    groups = np.array_split(np.arange(len(pattern)), min(threads, len(pattern)))

    def run(own: slice) -> None:
        prior = [a[:, own] for a in by_marker[:2]]
        parts = [np.ascontiguousarray(a[:, own]) for a in by_marker[2:]]
        sweep(*(*data, pattern[own], residual[own], precision[own], *prior, *parts))
        for whole, part in zip(by_marker[2:4], parts[:2], strict=True):
            whole[:, own] = part

    with ThreadPoolExecutor(len(groups)) as pool:
        list(pool.map(run, [slice(g[0], g[-1] + 1) for g in groups]))


def per_effect(parameter: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A view of shape (marker, response, class) on a parameter of the marker effects."""
    view = np.broadcast_to(parameter, (*shape, parameter.shape[-1]))
    return view[:, None, :] if len(shape) == 1 else view


# `pm.sample` would give these variables to NUTS, which never visits the spike.
if MarkerGibbs not in STEP_METHODS:
    STEP_METHODS.insert(0, MarkerGibbs)

"""Updates of marker effects, of selected weights, and of the variance that scales effects.

The draw of one effect is read off the update itself: moving the effect's uniform number from 0 to 1
gives the probability of each class, moving its normal number mean and sd in each. Effects before it
in the sweep have their new values, those behind it their old ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from nnmm_pymc.checks.hyper import SliceSpy
from nnmm_pymc.checks.numbers import Given, standing_in
from nnmm_pymc.checks.reference import State
from nnmm_pymc.kernels.scale import log_density
from nnmm_pymc.steps import scale as scale_module
from nnmm_pymc.steps.markers import MarkerGibbs
from nnmm_pymc.steps.selection import SWEEPS, SelectionGibbs

__all__ = ["marker_misfits", "scale_misfits", "selection_misfits"]

# Of how many markers, and of how many responses each, the draw is read.
MARKERS, RESPONSES = 3, 3
HALVINGS = 36
# Classes that are less probable are left out: halvings do not resolve them.
LEAST = 1e-4

# Effects and classes, (effect, response), drawn with these uniform and normal numbers.
Draw = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def marker_misfits(step: MarkerGibbs, state: State) -> Iterator[tuple[str, float]]:
    """Draws of some effects by the marker sweep."""
    name, rng = step.term.effects, state.rng
    shape = np.shape(state.point[name])
    matrix = (shape[0], int(np.prod(shape[1:])))
    step.conditional.refresh(state.point)
    # The sweep takes residuals as float32.
    residual, precision, *_ = step.read(state.point)
    coupled = precision.ndim == 3
    if coupled:
        precision = precision.diagonal(axis1=1, axis2=2).max(axis=0)
    length = np.sqrt(residual.shape[1]) + np.sqrt(precision) * np.linalg.norm(residual, axis=1)
    n_classes = 1 if step.mixture is None else step.mixture.n_classes
    uniforms, normals = rng.random(matrix), rng.normal(size=matrix)
    numbers = _Numbers(uniforms, normals, n_classes)

    def draw(uniforms: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        step.rng = Given([uniforms], [normals])  # type: ignore[assignment]
        new = step.step(state.point)[0][name].reshape(matrix)
        held = None if step.mixture is None else step.mixture.classes.reshape(matrix)
        return new, (new != 0.0) - 1 if held is None else held.copy()

    with standing_in(step, "scale", None), standing_in(step, "rng", step.rng):
        for j in rng.choice(matrix[0], min(MARKERS, matrix[0]), replace=False):
            columns = rng.choice(matrix[1], min(RESPONSES, matrix[1]), replace=False)
            found = numbers.read(draw, j)
            behind = np.arange(matrix[0])[:, None] >= j
            for k in columns:
                if coupled:
                    # Effects on other traits are drawn one after the other too.
                    found = numbers.read(draw, j, k)
                    behind = np.arange(uniforms.size).reshape(matrix) >= j * matrix[1] + k
                own = _Effect(name, (j, k), matrix, behind)
                for misfit in own.misfits(state, found, length[k]):
                    yield name, misfit


@dataclass(frozen=True, eq=False)
class _Draws:
    """What is drawn for one effect of every response: probability, mean and sd by class, -1 first.

    `new` and `classes` are all effects as they are then.
    """

    probability: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    new: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True, eq=False)
class _Numbers:
    """Random numbers of a sweep, and how many normals the slab has."""

    uniforms: np.ndarray
    normals: np.ndarray
    n_classes: int

    def read(self, draw: Draw, j: int, column: int | None = None) -> _Draws:
        """Draws of the effects of marker j, or of one of them with the others as they are."""
        own = slice(None) if column is None else slice(column, column + 1)

        def drawn(uniform: np.ndarray, normal: float) -> tuple[np.ndarray, np.ndarray]:
            uniforms, normals = self.uniforms.copy(), self.normals.copy()
            uniforms[j, own], normals[j, own] = uniform[own], normal
            return draw(uniforms, normals)

        size = self.uniforms.shape[1]
        edges = [np.zeros(size)]
        for c in range(-1, self.n_classes - 1):
            low, high = np.zeros(size), np.ones(size)
            for _ in range(HALVINGS):
                middle = 0.5 * (low + high)
                below = drawn(middle, 0.0)[1][j] <= c
                low, high = np.where(below, middle, low), np.where(below, high, middle)
            edges.append(0.5 * (low + high))
        edges.append(np.ones(size))
        mean, sd = [], []
        for lower, upper in itertools.pairwise(edges):
            inside = 0.5 * (lower + upper)
            mean.append(drawn(inside, 0.0)[0][j])
            sd.append(drawn(inside, 1.0)[0][j] - mean[-1])
        new, classes = drawn(np.full(size, 0.5), 0.0)
        return _Draws(np.diff(edges, axis=0), np.array(mean), np.array(sd), new, classes)


@dataclass(frozen=True, eq=False)
class _Effect:
    """One effect, and which effects still have their old values when it is drawn."""

    name: str
    at: tuple[int, int]
    matrix: tuple[int, int]
    behind: np.ndarray

    def misfits(self, state: State, found: _Draws, slack: float) -> Iterator[float]:
        """Differences between the likelier classes, and between values in each."""
        shape = np.shape(state.point[self.name])
        old = state.point[self.name].reshape(self.matrix)
        effects = np.where(self.behind, old, found.new)
        classes = found.classes
        if self.name in state.classes:
            before = state.classes[self.name].reshape(self.matrix)
            classes = np.where(self.behind, before, found.classes)
        start: State | None = None
        reference = 0.0
        for a, c, density in self._places(state.rng, found):
            effects, classes = effects.copy(), classes.copy()
            effects[self.at], classes[self.at] = a, c
            point = {self.name: effects.reshape(shape)}
            own = {self.name: classes.reshape(shape)} if self.name in state.classes else {}
            if start is None:
                # The first place is the one that others are compared with.
                point, own = state.point | point, {**state.classes, **own}
                start, reference = replace(state, point=point, classes=own), density
            else:
                yield start.change(point, own).misfit(density - reference, slack)

    def _places(
        self, rng: np.random.Generator, found: _Draws
    ) -> Iterator[tuple[float, int, float]]:
        """Values and classes of the effect, and the log density with which they are drawn."""
        k = self.at[1]
        for row, probability in enumerate(found.probability[:, k]):
            if probability < LEAST:
                continue
            if row == 0:
                yield 0.0, -1, np.log(probability)
                continue
            mean, sd = found.mean[row, k], found.sd[row, k]
            for z in rng.uniform(-2.5, 2.5, 2):
                # A draw that its normal number does not move has no density.
                density = stats.norm.logpdf(z) - np.log(abs(sd)) if sd != 0.0 else np.nan
                yield mean + sd * z, row - 1, np.log(probability) + density


class _ScaleSpy(SliceSpy):
    """Stands in for the compiled slice update of a scale too."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def compiled(self, rng: np.random.Generator, start: np.ndarray, *own: np.ndarray) -> np.ndarray:
        def density(at: np.ndarray) -> np.ndarray:
            rows = zip(at.ravel(), start, *own, strict=True)
            return np.reshape([log_density(*row) for row in rows], self.shape)

        return self(start.reshape(self.shape), density).ravel()


def scale_misfits(step: MarkerGibbs, state: State) -> Iterator[tuple[str, float]]:
    """The density that variance and scaled effects are drawn from, along the line of the move."""
    assert step.scale is not None
    name, variance = step.term.effects, step.scale.variance
    spy = _ScaleSpy(np.shape(state.point[variance]))
    with (
        standing_in(scale_module, "slice_sample", spy),
        standing_in(scale_module, "draw_scale", spy.compiled),
    ):
        swept = step.step(state.point)[0]
    own = {} if step.mixture is None else {name: step.mixture.classes.copy()}
    start = replace(state, point=swept, classes={**state.classes, **own})
    residual, precision, *_ = step.read(swept)
    value = step.term.held.get_value().reshape(len(residual[0]), -1)
    slack = precision @ (np.linalg.norm(residual, axis=1) * np.linalg.norm(value, axis=0))
    for element in np.ndindex(spy.start.shape):
        shift = np.zeros(spy.start.shape)
        shift[element] = state.rng.normal(0.0, 0.5)
        implied = (spy.log_density(spy.start + shift) - spy.log_density(spy.start))[element]
        effects = swept[name] * np.exp(0.5 * shift)
        change = start.change({variance: spy.start + shift, name: effects})
        # Effects that move with the variance take their volume with them.
        volume = 0.5 * np.sum((effects != 0.0) * shift)
        wanted = replace(change, value=change.value + float(volume))
        yield variance, wanted.misfit(float(implied), float(slack))


def selection_misfits(step: SelectionGibbs, state: State) -> Iterator[tuple[str, float]]:
    """The quadratic form of the likelihood, and the draw of the last effect of the last sweep."""
    name, rng = step.effects, state.rng
    start = np.asarray(state.point[name])
    step.conditional.refresh(state.point)
    precision, linear = step.quadratic(state.point)

    def quadratic(b: np.ndarray) -> float:
        return float(linear @ b.ravel() - 0.5 * b.ravel() @ precision @ b.ravel())

    for _ in range(MARKERS):
        b = start + rng.normal(0, np.abs(start).max() + 0.1, start.shape)
        change = state.change({name: b}, without=name)
        yield name, change.misfit(quadratic(b) - quadratic(start))

    n_classes = 1 if step.mixture is None else step.mixture.n_classes
    numbers = _Numbers(rng.random((start.size, 1)), rng.normal(size=(start.size, 1)), n_classes)
    before = [numbers.uniforms.ravel()] * (SWEEPS - 1), [numbers.normals.ravel()] * (SWEEPS - 1)

    def draw(uniforms: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        step.rng = Given([*before[0], uniforms.ravel()], [*before[1], normals.ravel()])  # type: ignore[assignment]
        new = step.step(state.point)[0][name].reshape(-1, 1)
        held = None if step.mixture is None else step.mixture.classes.reshape(-1, 1)
        return new, (new != 0.0) - 1 if held is None else held.copy()

    last = start.size - 1
    with standing_in(step, "rng", step.rng):
        found = numbers.read(draw, last)
    effect = _Effect(name, (last, 0), (start.size, 1), np.arange(start.size)[:, None] >= last)
    for misfit in effect.misfits(state, found, 0.0):
        yield name, misfit

r"""Residuals of normal variables, read as value less mean and not from a gradient.

For a normal variable the residual e and standard deviation s say all that the exact updates need:

- marker effects: residual and precision :math:`1/s^2` of each response;
- a variance v with :math:`s^2 = r v`: the sum of :math:`e^2 / r` over the elements it governs.

What is read here is compared with the model's own gradient before it is used; where it differs
(another likelihood, a transformed mean) the gradient is read instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.random.basic import NormalRV

from nnmm_pymc.kernels.rows import put_at
from nnmm_pymc.steps.conditional import (
    QUICK_MODE,
    ConditionalModel,
    Point,
    gradient,
)
from nnmm_pymc.steps.families import Conjugate, Eta, derivatives, natural_parameters, nodes
from nnmm_pymc.steps.linear import read_residuals
from nnmm_pymc.steps.scaled import read_scaled
from nnmm_pymc.steps.terms import HeldTerm, MarkerTerm

__all__ = [
    "CellReader",
    "NormalStatistics",
    "ResidualReader",
    "cells_of",
    "find_cells",
    "find_normal_statistics",
    "find_residuals",
    "gradients_at_values",
    "normal_residuals",
]


def normal_residuals(
    conditional: ConditionalModel, names: Sequence[str]
) -> list[tuple[Any, Any]] | None:
    """Flat residual and standard deviation of variables, or None if one is not normal."""
    model, found = conditional.conditional, []
    for name in names:
        rv: Any = model.named_vars.get(name)
        if rv is None or rv.owner is None or not isinstance(rv.owner.op, NormalRV):
            return None
        mean, sd = model.replace_rvs_by_values(list(rv.owner.inputs[2:4]))
        value = model.rvs_to_values[rv]
        found.append(((value - mean).ravel(), (sd + pt.zeros_like(value)).ravel()))
    return found


def read_normals(
    conditional: ConditionalModel, names: Sequence[str]
) -> Callable[[Point], list[np.ndarray]]:
    """Reader of the flat residuals of normal variables."""
    normals = normal_residuals(conditional, names)
    assert normals is not None
    graphs = {name: e for name, (e, _) in zip(names, normals, strict=True)}
    return read_residuals(conditional, graphs) or conditional.compile(list(graphs.values()))


@dataclass(frozen=True, eq=False)
class ResidualReader:
    """Residual and precision of every response of a genetic value.

    Attributes
    ----------
    read : callable
        Flat residuals of the normal variables at a point.
    spreads : list of callable
        Standard deviations of each of them, one for each of its `responses`.
    places : list of int arrays
        Where in the (response, individual) array each residual goes.
    responses : list of int arrays
    shape : tuple of int
        Responses and individuals.
    """

    read: Callable[[Point], list[np.ndarray]]
    spreads: list[Callable[[Point], np.ndarray]]
    places: list[np.ndarray]
    responses: list[np.ndarray]
    shape: tuple[int, int]

    def __call__(self, point: Point) -> tuple[np.ndarray, np.ndarray]:
        """Residuals, (response, individual) float32, 0 without a value; precisions, (response,)."""
        residual = np.zeros(self.shape, np.float32)
        precision = np.zeros(self.shape[0])
        for place, value in zip(self.places, self.read(point), strict=True):
            put_at(residual.reshape(-1), place, value)
        for response, spread in zip(self.responses, self.spreads, strict=True):
            precision[response] = 1.0 / spread(point) ** 2
        return residual, precision


def find_residuals(conditional: ConditionalModel, term: MarkerTerm) -> ResidualReader | None:
    """Reader of the residuals of a genetic value that stands in the means of normal variables."""
    found = _cells(conditional, term)
    if found is None:
        return None
    normals, cells = found
    n, n_responses = _matrix_shape(term)
    firsts = [np.unique(c % n_responses, return_index=True) for c in cells]
    return ResidualReader(
        read_normals(conditional, conditional.factors_of(term.held)),
        [
            read_scaled(conditional, sd[at])
            for (_, sd), (_, at) in zip(normals, firsts, strict=True)
        ],
        [c % n_responses * n + c // n_responses for c in cells],
        [response for response, _ in firsts],
        (n_responses, n),
    )


@dataclass(frozen=True, eq=False)
class CellReader:
    """Residual and precision of every cell of a value.

    Attributes
    ----------
    read : callable
        Flat residuals of the normal variables at a point.
    spreads : list of callable
        Standard deviations of each of them.
    places : list of int arrays
        Where in the (individual, response) array each residual goes.
    shape : tuple of int
        Individuals and responses.
    """

    read: Callable[[Point], list[np.ndarray]]
    spreads: list[Callable[[Point], np.ndarray]]
    places: list[np.ndarray]
    shape: tuple[int, int]

    def __call__(self, point: Point) -> tuple[np.ndarray, np.ndarray]:
        """Residuals and precisions, (individual, response); 0 where nothing is known of a cell."""
        residual, precision = np.zeros(self.shape), np.zeros(self.shape)
        for place, spread, e in zip(self.places, self.spreads, self.read(point), strict=True):
            residual.reshape(-1)[place] = e
            precision.reshape(-1)[place] = 1.0 / spread(point) ** 2
        return residual, precision


def find_cells(conditional: ConditionalModel, term: HeldTerm) -> CellReader | None:
    """Reader of the cells of a value that stands in the means of normal variables."""
    found = _cells(conditional, term)
    if found is None:
        return None
    normals, cells = found
    read = read_normals(conditional, conditional.factors_of(term.held))
    spreads = [read_scaled(conditional, sd) for _, sd in normals]
    reader = CellReader(read, spreads, cells, _matrix_shape(term))
    return reader if _reads_gradient(conditional, term, reader) else None


def _matrix_shape(term: HeldTerm) -> tuple[int, int]:
    shape = term.held.get_value(borrow=True).shape
    return shape[0], int(np.prod(shape[1:]))


def _cells(
    conditional: ConditionalModel, term: HeldTerm
) -> tuple[list[tuple[Any, Any]], list[np.ndarray]] | None:
    """Normal variables, and the cell of the held value in the mean of each of their elements."""
    normals = normal_residuals(conditional, conditional.factors_of(term.held))
    if not normals:
        return None
    cells = cells_of(conditional, term, [e for e, _ in normals])
    return None if cells is None else (normals, cells)


def cells_of(
    conditional: ConditionalModel, term: HeldTerm, residuals: Sequence[Any]
) -> list[np.ndarray] | None:
    """Cell of the held value in each of some flat residuals, if each has one of its own."""
    shape = term.held.get_value(borrow=True).shape
    size = int(np.prod(shape))
    function = conditional.compile(list(residuals), mode=QUICK_MODE)
    point = conditional.check_points[0]
    conditional.refresh(point)
    keep = term.held.get_value()

    def differences(probe: np.ndarray) -> list[np.ndarray]:
        term.held.set_value(np.zeros(shape))
        before = function(point)
        term.held.set_value(probe.reshape(shape))
        return [a - b for a, b in zip(before, function(point), strict=True)]

    cells = [np.rint(d).astype(int) - 1 for d in differences(1.0 + np.arange(size))]
    probe = np.random.default_rng(0).normal(size=size)
    moved = differences(probe)
    term.held.set_value(keep)
    taken = np.concatenate(cells)
    if taken.size == 0 or taken.min() < 0 or taken.max() >= probe.size:
        return None
    if len(np.unique(taken)) < len(taken) or not all(
        np.allclose(d, probe[c], rtol=0, atol=1e-9) for d, c in zip(moved, cells, strict=True)
    ):
        return None
    return cells


def _reads_gradient(conditional: ConditionalModel, term: HeldTerm, reader: CellReader) -> bool:
    """Whether residuals times precisions are the gradient of the model, here and elsewhere."""
    agree = True
    for point, slope in gradients_at_values(conditional, term):
        residual, precision = reader(point)
        given, wanted = precision * residual, slope.reshape(reader.shape)
        agree &= np.allclose(given, wanted, rtol=1e-7, atol=1e-8 * np.abs(wanted).max())
    return agree


def gradients_at_values(
    conditional: ConditionalModel, term: HeldTerm
) -> Iterator[tuple[Point, np.ndarray]]:
    """Check points and gradients in a held value, at their own value and at another.

    While one is looked at the term holds that value; afterwards it holds what it held.
    """
    slope = gradient(conditional.log_density(term.held), term.held)
    function = conditional.compile([slope], mode=QUICK_MODE)
    rng, keep = np.random.default_rng(0), term.held.get_value()
    for point in conditional.check_points:
        conditional.refresh(point)
        here = term.held.get_value()
        for value in (here, here + rng.normal(size=here.shape)):
            term.held.set_value(value)
            yield point, function(point)[0]
    term.held.set_value(keep)
    term.current = None


@dataclass(frozen=True, eq=False)
class NormalStatistics:
    """Natural parameters of a variance of normal variables from their residuals.

    Attributes
    ----------
    read : callable
        Flat residuals at a point.
    groups : list of int arrays
        Element of the variance that governs each residual.
    relative : list of arrays
        r of the module's formula, of each residual.
    exponent, rate : arrays
        Coefficient of log v, and the prior's of -1/(2v), in the shape of the variance.
    """

    read: Callable[[Point], list[np.ndarray]]
    groups: list[np.ndarray]
    relative: list[np.ndarray]
    exponent: np.ndarray
    rate: np.ndarray

    @cached_property
    def _periods(self) -> list[int]:
        """Size of the variance where its elements take turns, each with one r; else 0."""
        size = self.rate.size
        return [
            size
            if len(g) % size == 0
            and np.array_equal(g, np.arange(len(g)) % size)
            and np.array_equal(r, np.tile(r[:size], len(r) // size))
            else 0
            for g, r in zip(self.groups, self.relative, strict=True)
        ]

    def parameters(self, point: Point) -> Eta:
        """Natural parameters at a point."""
        total = np.zeros(self.rate.size)
        for e, group, r, width in zip(
            self.read(point), self.groups, self.relative, self._periods, strict=True
        ):
            if width:
                rows = e.reshape(-1, width)
                total += np.einsum("ik,ik->k", rows, rows) / r[:width]
            else:
                total += np.bincount(group, e * e / r, minlength=total.size)
        return {0: self.exponent, 1: self.rate + total.reshape(self.rate.shape)}


def find_normal_statistics(conditional: ConditionalModel, c: Conjugate) -> NormalStatistics | None:
    """Statistics of a variance that stands in standard deviations only, if they are right."""
    if c.exponent is None or c.statistics != (0, 1):
        return None
    own = conditional.rvs[c.value].name
    names = conditional.factors_of(conditional.values[c.value])
    normals = normal_residuals(conditional, [name for name in names if name != own])
    if not normals:
        return None
    spread = conditional.compile([sd for _, sd in normals], mode=QUICK_MODE)
    point = conditional.check_points[0]
    conditional.refresh(point)
    start = np.asarray(point[c.value])
    # Each element has a mark of its own, so that one look tells them apart.
    marks = np.linspace(0.3, 0.7, start.size)
    groups, relative = [], []
    moved = spread(point | {c.value: start + marks.reshape(start.shape)})
    for before, after in zip(spread(point), moved, strict=True):
        seen = 2.0 * np.log(after / before)
        group = np.clip(np.searchsorted(marks, seen - 1e-9), 0, start.size - 1)
        if not np.allclose(seen, marks[group], rtol=0, atol=1e-8):
            return None
        groups.append(group)
        relative.append(before**2 / np.exp(start.ravel()[group]))
    found = NormalStatistics(
        read_normals(conditional, [name for name in names if name != own]),
        groups,
        relative,
        c.exponent,
        _prior_rate(conditional, c, own),
    )
    return found if _agrees(conditional, c, found) else None


def _prior_rate(conditional: ConditionalModel, c: Conjugate, own: str) -> np.ndarray:
    """Coefficient of -1/(2v) in the prior of a variance."""
    position = conditional.factors_of(conditional.values[c.value]).index(own)
    gradients, natural = derivatives(conditional, c.value)
    function = conditional.compile([gradients[position]], leading=[natural], mode=QUICK_MODE)
    point = conditional.check_points[0]
    at = nodes(Conjugate(c.value, c.family, c.statistics), point[c.value])
    plain = Conjugate(c.value, c.family, c.statistics)
    eta, unit = natural_parameters(plain, at, [function(point, v)[0] for v in at])
    return eta[1] * unit


def _agrees(conditional: ConditionalModel, c: Conjugate, found: NormalStatistics) -> bool:
    """Whether the parameters are those that the gradient of the model gives."""
    gradients, natural = derivatives(conditional, c.value)
    function = conditional.compile(gradients, leading=[natural], mode=QUICK_MODE)
    for point in conditional.check_points:
        conditional.refresh(point)
        at = nodes(c, point[c.value])
        sums = [np.sum(function(point, v), axis=0) for v in at]
        wanted, unit = natural_parameters(c, at, sums)
        given = found.parameters(point)
        if not np.allclose(given[1], wanted[1] * unit, rtol=1e-7, atol=0.0):
            return False
    return True

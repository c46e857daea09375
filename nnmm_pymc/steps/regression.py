r"""Normal variables whose mean is linear in some others: their part of a Gaussian conditional.

With the mean :math:`m_0 + X b`, residual :math:`e = y - m_0` and weights :math:`w = 1/s^2` the log
density is :math:`-b'Pb/2 + h'b`, :math:`P = X' \mathrm{diag}(w) X, h = X' \mathrm{diag}(w) e`.
Columns of X that share no row are read together: ten intercepts of ten omics are one column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.replace import graph_replace, vectorize_graph
from pytensor.graph.traversal import ancestors

from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point, PointFunction
from nnmm_pymc.steps.normals import normal_residuals

__all__ = ["Regression", "Stack", "colours_of", "find_regression"]


class Stack:
    """Several variables as one vector."""

    def __init__(self, conditional: ConditionalModel, values: Sequence[str]):
        self.values = tuple(values)
        point = conditional.check_points[0]
        self.shapes = [np.shape(point[v]) for v in self.values]
        self.stops = np.cumsum([int(np.prod(s)) for s in self.shapes])
        self.size = int(self.stops[-1])

    def split(self, vector: Any) -> dict[str, Any]:
        """The variables that make a vector, each in its shape."""
        parts, start = {}, 0
        for value, shape, stop in zip(self.values, self.shapes, self.stops, strict=True):
            parts[value] = vector[start:stop].reshape(shape)
            start = stop
        return parts


def colours_of(conflict: np.ndarray) -> np.ndarray:
    """Colours such that no two elements of one colour are in conflict, taken greedily."""
    colours = np.full(len(conflict), -1)
    for i in range(len(conflict)):
        taken = set(colours[conflict[i]])
        colours[i] = next(c for c in range(len(conflict) + 1) if c not in taken)
    return colours


@dataclass(eq=False)
class Regression:
    """Reads P and h of one normal variable.

    Attributes
    ----------
    read : PointFunction
        Residuals with the stacked vector at every row of `directions`, and standard deviations.
    directions : (1 + C, q) array
        Zero, then the sum of the unit vectors of each colour.
    members : list of (rows, elements)
        Rows in which the same elements stand, and which these are, one of each colour, -1 for none.
    """

    read: PointFunction
    directions: np.ndarray
    members: list[tuple[np.ndarray, np.ndarray]]

    def __post_init__(self):
        # With a single column all rows are taken at once: which they are, and whose.
        self.rows = np.concatenate([rows for rows, _ in self.members])
        self.owner = np.concatenate([np.full(len(r), e[0]) for r, e in self.members])

    def __call__(self, point: Point) -> tuple[np.ndarray, np.ndarray]:
        """P and h at a point."""
        (base, *moved), sd = self.read(point, self.directions)
        columns, weight = base - np.asarray(moved), 1.0 / sd**2
        size = self.directions.shape[1]
        precision, linear = np.zeros((size, size)), np.zeros(size)
        if len(moved) == 1:
            weighted = (columns[0] * weight)[self.rows]
            diagonal = np.bincount(self.owner, weighted * columns[0][self.rows], size)
            np.fill_diagonal(precision, diagonal)
            return precision, np.bincount(self.owner, weighted * base[self.rows], size)
        for rows, elements in self.members:
            used = elements >= 0
            own = columns[used][:, rows]
            weighted = own * weight[rows]
            index = elements[used]
            precision[np.ix_(index, index)] += weighted @ own.T
            linear[index] += weighted @ base[rows]
        return precision, linear


def find_regression(
    conditional: ConditionalModel, stack: Stack, name: str
) -> Regression | None:
    """The regression of a normal variable on the stacked ones, if it is one."""
    found = normal_residuals(conditional, [name])
    if not found:
        return None
    residual, sd = found[0]
    if set(ancestors([sd])) & {conditional.values[v] for v in stack.values}:
        return None
    vector = pt.dvector("stacked")
    parts = {conditional.values[v]: part for v, part in stack.split(vector).items()}
    residual = graph_replace(residual, parts, strict=False)
    function = conditional.compile([residual], leading=[vector], mode=QUICK_MODE)
    stands = _where(conditional, stack.size, function)
    if stands is None:
        return None
    colours = colours_of((stands.T.astype(np.float32) @ stands) > 0)
    directions = np.zeros((colours.max() + 2, stack.size))
    directions[colours + 1, np.arange(stack.size)] = 1.0
    owner = np.full((len(stands), colours.max() + 1), -1)
    rows, elements = np.nonzero(stands)
    owner[rows, colours[elements]] = elements
    kinds, inverse = np.unique(owner, axis=0, return_inverse=True)
    members = [
        (np.flatnonzero(inverse == k), kind) for k, kind in enumerate(kinds) if kind.max() >= 0
    ]
    batch = pt.dmatrix("directions")
    outputs = [vectorize_graph(residual, {vector: batch}), sd]
    return Regression(conditional.compile(outputs, leading=[batch]), directions, members)


def _where(conditional: ConditionalModel, size: int, function: PointFunction) -> np.ndarray | None:
    """Which elements stand in the mean of which row, or None if some mean is not linear."""
    rng = np.random.default_rng(0)
    stands: Any = False
    for point in conditional.check_points:
        conditional.refresh(point)
        base = function(point, np.zeros(size))[0]
        columns = np.stack([base - function(point, unit)[0] for unit in np.eye(size)], axis=1)
        for scale in (0.3, 20.0):
            at = rng.normal(0.0, scale, size)
            away = np.abs(base) + np.abs(columns) @ np.abs(at)
            if not np.all(np.abs(base - columns @ at - function(point, at)[0]) <= 1e-9 * away):
                return None
        # A difference that is nothing but rounding error is no column.
        stands = stands | (np.abs(columns) > 1e-12 * (1.0 + np.abs(base)[:, None]))
    return stands

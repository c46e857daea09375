r"""Normal variables whose mean is linear in some others: their part of a Gaussian conditional.

With the mean :math:`m_0 + X b`, residual :math:`e = y - m_0` and weights :math:`w = 1/s^2` the log
density is :math:`-b'Pb/2 + h'b`, :math:`P = X' \mathrm{diag}(w) X, h = X' \mathrm{diag}(w) e`.
Columns of X that share no row are read together: ten intercepts of ten omics are one column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace, vectorize_graph
from pytensor.graph.traversal import ancestors, walk
from pytensor.scalar.basic import Second
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.shape import Shape, Shape_i

from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point, PointFunction
from nnmm_pymc.steps.linear import as_slice, read_residuals
from nnmm_pymc.steps.normals import normal_residuals
from nnmm_pymc.steps.scaled import read_scaled

__all__ = ["Regression", "Stack", "colours_of", "find_regression"]


class Stack:
    """Several variables as one vector.

    Attributes
    ----------
    size : int
    steps : (size,) array
        How far each element is moved to see what it does: as far as it is from zero at the check
        points, so that nothing is lost to rounding, whatever its unit.
    """

    def __init__(self, conditional: ConditionalModel, values: Sequence[str]):
        self.values = tuple(values)
        point = conditional.check_points[0]
        self.shapes = [np.shape(point[v]) for v in self.values]
        self.stops = np.cumsum([int(np.prod(s)) for s in self.shapes])
        self.size = int(self.stops[-1])
        away = [
            np.concatenate([np.abs(np.ravel(p[v])) for v in self.values])
            for p in conditional.check_points
        ]
        self.steps = np.max(away, axis=0)
        self.steps[self.steps == 0.0] = 1.0

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
        Zero, then the steps of the elements of each colour.
    members : list of (rows, elements)
        Rows in which the same elements stand, and which these are, one of each colour, -1 for none.
    steps : (q,) array
        As in `Stack`.
    """

    read: PointFunction
    directions: np.ndarray
    members: list[tuple[np.ndarray, np.ndarray]]
    steps: np.ndarray

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
            own = columns[0][self.rows] / self.steps[self.owner]
            weighted = own * weight[self.rows]
            diagonal = np.bincount(self.owner, weighted * own, size)
            np.fill_diagonal(precision, diagonal)
            return precision, np.bincount(self.owner, weighted * base[self.rows], size)
        for rows, elements in self.members:
            used = elements >= 0
            index = elements[used]
            own = columns[used][:, rows] / self.steps[index][:, None]
            weighted = own * weight[rows]
            precision[np.ix_(index, index)] += weighted @ own.T
            linear[index] += weighted @ base[rows]
        return precision, linear


@dataclass(eq=False)
class FixedRegression:
    """The same where X is data and s has one value for each group of rows: X'X is taken once.

    Attributes
    ----------
    residual : callable
        Residuals with the stacked vector at zero.
    spread : callable
        Standard deviation of the first row of each group.
    members : list of (rows, elements)
        Groups of rows, and the elements of b that stand in them.
    columns : list of (elements, rows) arrays
        X' of each group.
    size : int
        Of b.
    """

    residual: Callable[[Point], list[np.ndarray]]
    spread: Callable[[Point], np.ndarray]
    members: list[tuple[np.ndarray, np.ndarray]]
    columns: list[np.ndarray]
    size: int

    def __post_init__(self):
        self.grams = [x @ x.T for x in self.columns]
        width = len(self.members)
        self.take_turns = width > 1 and all(
            isinstance(rows, slice)
            and (rows.start, rows.step) == (k, width)
            and x.shape == self.columns[0].shape
            and np.allclose(x, self.columns[0], rtol=0.0, atol=1e-11 * np.abs(x).max())
            for k, ((rows, _), x) in enumerate(zip(self.members, self.columns, strict=True))
        )

    def __call__(self, point: Point) -> tuple[np.ndarray, np.ndarray]:
        """P and h at a point."""
        base = self.residual(point)[0]
        weight = 1.0 / self.spread(point) ** 2
        precision, linear = np.zeros((self.size, self.size)), np.zeros(self.size)
        if self.take_turns:
            # The same columns for each of several responses.
            elements = np.array([elements for _, elements in self.members])
            precision[elements[:, :, None], elements[:, None]] = (
                weight[:, None, None] * self.grams[0]
            )
            products = self.columns[0] @ base.reshape(-1, len(elements))
            linear[elements] = weight[:, None] * products.T
            return precision, linear
        for (rows, elements), x, gram, w in zip(
            self.members, self.columns, self.grams, weight, strict=True
        ):
            precision[elements[:, None], elements] += w * gram
            linear[elements] += w * (x @ base[rows])
        return precision, linear


def find_regression(
    conditional: ConditionalModel, stack: Stack, name: str
) -> Regression | FixedRegression | None:
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
    found_columns = _columns(conditional, stack.steps, function)
    if found_columns is None:
        return None
    varies = _varies(conditional, residual, vector)
    stands = np.any([np.abs(x) > 0.0 for x in found_columns], axis=0)
    if varies:
        # A zero of relu is one at these points only; what stands anywhere is asked of the graph.
        stands |= _reached(conditional, function, stack.size)
    colours = colours_of((stands.T.astype(np.float32) @ stands) > 0)
    directions = np.zeros((colours.max() + 2, stack.size))
    directions[colours + 1, np.arange(stack.size)] = stack.steps
    owner = np.full((len(stands), colours.max() + 1), -1)
    rows, elements = np.nonzero(stands)
    owner[rows, colours[elements]] = elements
    kinds, inverse = np.unique(owner, axis=0, return_inverse=True)
    members = [
        (np.flatnonzero(inverse == k), kind) for k, kind in enumerate(kinds) if kind.max() >= 0
    ]
    size = np.max(np.abs(found_columns), axis=(0, 1))
    if not varies and np.all(np.ptp(found_columns, axis=0) <= 1e-11 * size):
        linear = read_residuals(conditional, {name: found[0][0]}, stack.values)
        if linear is None:
            at_zero = graph_replace(residual, {vector: pt.zeros(stack.size)}, strict=False)
            linear = conditional.compile([at_zero])
        fixed = _fixed(conditional, linear, sd, members, found_columns[0])
        if fixed is not None:
            return fixed
    batch = pt.dmatrix("directions")
    outputs = [vectorize_graph(residual, {vector: batch}), sd]
    read = conditional.compile(outputs, leading=[batch])
    return Regression(read, directions, members, stack.steps)


def _fixed(conditional, residual, sd, members, columns) -> FixedRegression | None:
    """The regression with its X'X taken once, if the groups of rows have one sd each."""
    groups = [(rows, kind[kind >= 0]) for rows, kind in members]
    read = conditional.compile([sd], mode=QUICK_MODE)
    for point in conditional.check_points:
        spread = read(point)[0]
        if not all(np.all(spread[rows] == spread[rows[0]]) for rows, _ in groups):
            return None
    firsts = np.array([rows[0] for rows, _ in groups])
    return FixedRegression(
        residual,
        read_scaled(conditional, sd[firsts]),
        [(as_slice(rows), elements) for rows, elements in groups],
        [np.ascontiguousarray(columns[rows][:, elements].T) for rows, elements in groups],
        columns.shape[1],
    )


def _varies(conditional: ConditionalModel, residual: Any, vector: Any) -> bool:
    """Whether X, the derivative of a residual in the stacked vector, depends on other variables."""
    slope = residual.type("slope")
    columns: Any = pt.grad(
        None, vector, known_grads={residual: slope}, disconnected_inputs="ignore"
    )
    others = {*conditional.values.values(), *(term.held for term in conditional.terms)}
    others |= {mixture.held for mixture in conditional.mixtures.values()}
    return any(variable in others for variable in walk([columns], _read_inputs))


def _read_inputs(variable: Variable) -> Sequence[Variable]:
    """What a variable is computed from, but for what only gives its shape."""
    node = variable.owner
    if node is None or isinstance(node.op, Shape | Shape_i):
        return ()
    if isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, Second):
        return node.inputs[1:]
    return node.inputs


def _reached(conditional: ConditionalModel, function: PointFunction, size: int) -> np.ndarray:
    """Which elements enter which residuals, if only times zero: those that NaN makes NaN."""
    point = conditional.check_points[0]
    conditional.refresh(point)
    with np.errstate(invalid="ignore"):
        spoilt = [function(point, one)[0] for one in np.diag(np.full(size, np.nan))]
    return np.isnan(spoilt).T


def _columns(
    conditional: ConditionalModel, steps: np.ndarray, function: PointFunction
) -> list[np.ndarray] | None:
    """X at every check point, or None if some mean is not linear."""
    rng = np.random.default_rng(0)
    found = []
    for point in conditional.check_points:
        conditional.refresh(point)
        base = function(point, np.zeros(len(steps)))[0]
        moved = np.stack([base - function(point, step)[0] for step in np.diag(steps)], axis=1)
        for scale in (0.3, 20.0):
            at = rng.normal(0.0, scale, len(steps))
            away = np.abs(base) + np.abs(moved) @ np.abs(at)
            if not np.all(
                np.abs(base - moved @ at - function(point, at * steps)[0]) <= 1e-9 * away
            ):
                return None
        # A difference that is nothing but rounding error is no column.
        moved[np.abs(moved) <= 1e-12 * (np.abs(moved).max(axis=0) + np.abs(base)[:, None])] = 0.0
        found.append(moved / steps)
    return found

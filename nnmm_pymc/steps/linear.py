r"""Residuals of normal variables whose means are linear, without a call of PyTensor.

A residual :math:`e = y - m - \sum_v A_v v` of variables and held values v, with A_v columns of data
or the choice of one element for each row, is read in a few passes of NumPy. That it is so is seen
from the model's own graph, at every check point; any other residual is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.traversal import ancestors

from nnmm_pymc.kernels.rows import add, add_chosen, add_in_turn
from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point
from nnmm_pymc.steps.network_residual import TraitResidual, find_trait_residual

__all__ = ["as_slice", "read_residuals"]

#: Elements of a variable up to which its columns are found one by one.
SMALL = 64

Read = Callable[[Point], Any]


@dataclass(frozen=True, eq=False)
class _Choice:
    """Adds to each row one element of a variable, or takes it away.

    Attributes
    ----------
    read : callable
        The variable at a point.
    cells : int array or None
        Element of each row, the number of elements where none; None if row i has element i.
    width : int
        If positive, row i has element i modulo this.
    sign : float
        1 or -1.
    """

    read: Read
    cells: np.ndarray | None
    width: int
    sign: float

    def __call__(self, point: Point, residual: np.ndarray) -> None:
        value = self.read(point).reshape(-1)
        if self.width:
            add_in_turn(residual, self.sign, value)
        elif self.cells is None:
            add(residual, self.sign, value)
        else:
            add_chosen(residual, self.sign, value, self.cells)


@dataclass(frozen=True, eq=False)
class _Columns:
    """Adds columns of data times the elements of a variable, by groups of rows."""

    read: Read
    groups: list[tuple[Any, np.ndarray, np.ndarray]]

    def __call__(self, point: Point, residual: np.ndarray) -> None:
        value = self.read(point).reshape(-1)
        for rows, elements, columns in self.groups:
            residual[rows] += value[elements] @ columns


@dataclass(frozen=True, eq=False)
class _Linear:
    """A residual as the module's formula has it.

    Attributes
    ----------
    data : shared variable or array
        y.
    mean : array
        m.
    parts : dict
        A_v of every variable.
    """

    data: Any
    mean: np.ndarray
    parts: dict[str, _Choice | _Columns]

    def value(self) -> np.ndarray:
        """Flat y."""
        fixed = isinstance(self.data, np.ndarray)
        return self.data if fixed else np.ravel(self.data.get_value(borrow=True))

    @cached_property
    def _fixed(self) -> np.ndarray:
        return self.data - self.mean

    def __call__(self, point: Point, without: Sequence[str] = ()) -> np.ndarray:
        fixed = isinstance(self.data, np.ndarray)
        residual = self._fixed.copy() if fixed else self.value() - self.mean
        for name, part in self.parts.items():
            if name not in without:
                part(point, residual)
        return residual


def read_residuals(
    conditional: ConditionalModel,
    graphs: dict[str, Any],
    without: Sequence[str] = (),
) -> Callable[[Point], list[np.ndarray]] | None:
    """Reader of flat residuals, or None if one is not linear.

    Parameters
    ----------
    conditional : ConditionalModel
    graphs : dict
        Flat residual of each normal variable, by its name.
    without : sequence of str
        Value variables that are taken to be zero.
    """
    maybe = [_find(conditional, name, graph) for name, graph in graphs.items()]
    found = [linear for linear in maybe if linear is not None]
    if len(found) < len(maybe):
        return None
    return lambda point: [linear(point, without) for linear in found]


def _find(conditional: ConditionalModel, name: str, graph: Any) -> _Linear | TraitResidual | None:
    known = conditional.residuals
    if name not in known:
        linear = _find_linear(conditional, name, graph)
        known[name] = linear or find_trait_residual(conditional, name, graph)
    return known[name]


def _find_linear(conditional: ConditionalModel, name: str, graph: Any) -> _Linear | None:
    function = conditional.compile([graph], mode=QUICK_MODE)
    above = set(ancestors([graph]))
    helds = {t.value: t.held for t in conditional.terms if t.held in above}
    keep = {n: held.get_value() for n, held in helds.items()}
    start = conditional.check_points[0]
    conditional.refresh(start)
    zero = {n: np.zeros_like(start[n]) for n in function.names}
    shapes = {n: v.shape for n, v in [*zero.items(), *keep.items()]}

    def at(values: dict[str, np.ndarray]) -> np.ndarray:
        for n, held in helds.items():
            held.set_value(values.get(n, np.zeros(shapes[n])))
        with np.errstate(all="ignore"):
            return function(zero | {n: v for n, v in values.items() if n in zero})[0]

    data: Any = conditional.conditional.rvs_to_values[conditional.conditional[name]]
    observed = _observed(data)
    base = at({})
    parts: dict[str, _Choice | _Columns] = {}
    for n in shapes:
        read = _reader(n, helds)
        part = _choice(at, base, n, shapes[n], read) or _columns(at, base, n, shapes[n], read)
        if part is None:
            break
        parts[n] = part
    found = None
    if len(parts) == len(shapes):
        found = _Linear(observed, _Linear(observed, base, {}).value() - base, parts)
    for n, held in helds.items():
        held.set_value(keep[n])
    for term in conditional.terms:
        if term.value in helds:
            term.current = None
    return found if found is not None and _agrees(conditional, found, function, helds) else None


def _observed(data: Any) -> Any:
    """Flat observed values; zero for what is not observed but a variable."""
    if isinstance(data, SharedVariable):
        return data
    if data.owner is None and not hasattr(data, "data"):
        return np.zeros(1)
    return np.ravel(data.eval(mode=QUICK_MODE)).astype(float)


def _reader(name: str, helds: dict[str, Any]) -> Read:
    if name in helds:
        held = helds[name]
        return lambda point: held.get_value(borrow=True)
    return lambda point: point[name]


def _choice(at, base, name, shape, read) -> _Choice | None:
    """The part of a variable of which each row has one element at most, as it is."""
    size = int(np.prod(shape))
    seen = at({name: (1.0 + np.arange(size)).reshape(shape)}) - base
    scale = 1e-9 * (1.0 + np.abs(base))
    if not np.all(np.abs(seen) < size + 1):
        return None
    cells = np.rint(np.abs(seen)).astype(np.int64) - 1
    signs = np.unique(np.sign(np.rint(seen)))
    signs = signs[signs != 0]
    close = np.all(np.abs(np.abs(seen) - cells - 1.0) <= scale * size)
    if len(signs) != 1 or not close or cells.max() >= size:
        return None
    cells[cells < 0] = size
    rows = len(cells)
    if np.array_equal(cells, np.arange(rows)) and rows == size:
        return _Choice(read, None, 0, float(signs[0]))
    periodic = rows % size == 0 and np.array_equal(cells, np.arange(rows) % size)
    return _Choice(read, cells, size if periodic else 0, float(signs[0]))


def _columns(at, base, name, shape, read) -> _Columns | None:
    """The part of a variable of a few elements."""
    size = int(np.prod(shape))
    if size > SMALL:
        return None
    units = np.eye(size).reshape(size, *shape)
    columns = np.array([at({name: unit}) - base for unit in units])
    columns[np.abs(columns) <= 1e-12 * (1.0 + np.abs(base))] = 0.0
    kinds, inverse = np.unique(columns != 0.0, axis=1, return_inverse=True)
    groups = []
    for k, stands in enumerate(kinds.T):
        rows, elements = np.flatnonzero(inverse == k), np.flatnonzero(stands)
        if len(elements):
            own = np.ascontiguousarray(columns[np.ix_(elements, rows)])
            groups.append((as_slice(rows), elements, own))
    return _Columns(read, groups)


def as_slice(rows: np.ndarray) -> Any:
    """Evenly spaced rows as a slice, which reads them without a copy."""
    step = int(rows[1] - rows[0]) if len(rows) > 1 else 1
    even = np.array_equal(rows, rows[0] + step * np.arange(len(rows)))
    return slice(int(rows[0]), int(rows[-1]) + 1, step) if even else rows


def _agrees(conditional, found: _Linear, function, helds: dict[str, Any]) -> bool:
    for point in conditional.check_points:
        conditional.refresh(point)
        wanted = function(point)[0]
        size = np.abs(found.mean) + np.abs(found.value()) + np.abs(wanted)
        for held in helds.values():
            size = size + np.abs(held.get_value(borrow=True)).max()
        if not np.all(np.abs(found(point) - wanted) <= 1e-9 * (size + np.abs(wanted).max())):
            return False
    return True

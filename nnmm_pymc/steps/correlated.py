"""Residuals of traits that depend on each other within an individual, and their precision matrices.

Individuals with records of the same traits have one precision matrix, Omega: the inverse of the
covariance of those traits, zero for others (`nnmm_pymc.kernels.joint`). It is read from
multivariate normal variables, one for each such group; independent normal ones give a diagonal.
What is read is compared with the model's own gradient before it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pytensor.scalar.basic import Second
from pytensor.tensor.random.basic import MvNormalRV

from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point
from nnmm_pymc.steps.linear import read_residuals
from nnmm_pymc.steps.normals import cells_of, gradients_at_values, normal_residuals
from nnmm_pymc.steps.scaled import read_scaled
from nnmm_pymc.steps.terms import HeldTerm

__all__ = ["CorrelatedReader", "find_correlated", "is_multivariate", "multivariate_residual"]


def is_multivariate(conditional: ConditionalModel, name: str) -> bool:
    """Whether a variable is multivariate normal."""
    rv: Any = conditional.conditional.named_vars.get(name)
    return rv is not None and rv.owner is not None and isinstance(rv.owner.op, MvNormalRV)


def multivariate_residual(conditional: ConditionalModel, name: str) -> tuple[Any, Any]:
    """Flat residual and covariance matrix of a multivariate normal variable."""
    model = conditional.conditional
    rv: Any = model.named_vars[name]
    mean, covariance = rv.owner.inputs[2:4]
    if mean.owner is not None and isinstance(getattr(mean.owner.op, "scalar_op", None), Second):
        # PyMC gives the mean the shape of the matrix, on which it seems to depend then.
        mean = mean.owner.inputs[1]
    mean, covariance = model.replace_rvs_by_values([mean, covariance])
    while covariance.ndim > 2:
        covariance = covariance[0]
    return (model.rvs_to_values[rv] - mean).ravel(), covariance


@dataclass(frozen=True, eq=False)
class CorrelatedReader:
    """Residuals of all traits, and the precision matrix of each group of individuals.

    Attributes
    ----------
    read : callable
        Flat residuals at a point.
    places : list of int arrays
        Where in the (trait, individual) array each residual goes.
    precisions : callable
        Omega of every group at a point, (G, T, T).
    group : (individual,) array of int
    shape : (T, n)
    dtype : of the residuals
    """

    read: Callable[[Point], list[np.ndarray]]
    places: list[np.ndarray]
    precisions: Callable[[Point], np.ndarray]
    group: np.ndarray
    shape: tuple[int, int]
    dtype: Any = np.float32

    def __call__(self, point: Point) -> tuple[np.ndarray, np.ndarray]:
        """Residuals, (T, n) and 0 where there are none, and Omega."""
        residual = np.zeros(self.shape, self.dtype)
        for place, value in zip(self.places, self.read(point), strict=True):
            residual.reshape(-1)[place] = value
        return residual, self.precisions(point)


def find_correlated(
    conditional: ConditionalModel, term: HeldTerm, dtype: Any = np.float32
) -> CorrelatedReader | None:
    """Reader of what a held value of several traits stands in the mean of, or None."""
    names = conditional.factors_of(term.held)
    shape = term.held.get_value(borrow=True).shape
    if len(shape) != 2 or not names:
        return None
    make = _correlated if is_multivariate(conditional, names[0]) else _independent
    found = make(conditional, term, names, shape)
    if found is None or not _reads_gradient(conditional, term, found):
        return None
    return replace(found, dtype=dtype)


def _correlated(conditional, term, names: list[str], shape) -> CorrelatedReader | None:
    """Of multivariate normal variables, each of some individuals and some traits."""
    if not all(is_multivariate(conditional, name) for name in names):
        return None
    parts = [multivariate_residual(conditional, name) for name in names]
    cells = cells_of(conditional, term, [e for e, _ in parts])
    if cells is None:
        return None
    n, n_traits = shape
    group = np.full(n, len(names))
    traits = []
    widths = conditional.compile([c.shape[0] for _, c in parts], mode=QUICK_MODE)
    for g, (own, width) in enumerate(zip(cells, widths(conditional.check_points[0]), strict=True)):
        table = own.reshape(-1, int(width))
        columns = table[0] % n_traits
        if not np.array_equal(table % n_traits, np.broadcast_to(columns, table.shape)):
            return None
        if np.any(table // n_traits != table[:, :1] // n_traits):
            return None
        group[table[:, 0] // n_traits] = g
        traits.append(columns)
    n_groups = int(group.max()) + 1
    read = conditional.compile([c for _, c in parts])

    def precisions(point: Point) -> np.ndarray:
        omega = np.zeros((n_groups, n_traits, n_traits))
        for g, (columns, covariance) in enumerate(zip(traits, read(point), strict=True)):
            omega[g][np.ix_(columns, columns)] = np.linalg.inv(covariance)
        return omega

    graphs = {name: e for name, (e, _) in zip(names, parts, strict=True)}
    residuals = read_residuals(conditional, graphs) or conditional.compile(list(graphs.values()))
    return CorrelatedReader(residuals, _places(cells, shape), precisions, group, (n_traits, n))


def _independent(conditional, term, names: list[str], shape) -> CorrelatedReader | None:
    """Of normal variables with one variance for each trait."""
    normals = normal_residuals(conditional, names)
    cells = None if normals is None else cells_of(conditional, term, [e for e, _ in normals])
    if normals is None or cells is None:
        return None
    n, n_traits = shape
    present = np.zeros(shape, bool)
    spreads = []
    for own, (_, sd) in zip(cells, normals, strict=True):
        present.reshape(-1)[own] = True
        traits, first = np.unique(own % n_traits, return_index=True)
        spreads.append((traits, read_scaled(conditional, sd[first])))
    patterns, group = np.unique(present, axis=0, return_inverse=True)

    def precisions(point: Point) -> np.ndarray:
        diagonal = np.zeros(n_traits)
        for traits, spread in spreads:
            diagonal[traits] = 1.0 / spread(point) ** 2
        return np.eye(n_traits) * (patterns * diagonal)[:, None, :]

    graphs = {name: e for name, (e, _) in zip(names, normals, strict=True)}
    residuals = read_residuals(conditional, graphs) or conditional.compile(list(graphs.values()))
    places = _places(cells, shape)
    return CorrelatedReader(residuals, places, precisions, group.ravel(), (n_traits, n))


def _places(cells: list[np.ndarray], shape: tuple[int, int]) -> list[np.ndarray]:
    """Cells (individual, trait), flat, as places of the transposed array."""
    n, n_traits = shape
    return [c % n_traits * n + c // n_traits for c in cells]


def _reads_gradient(conditional: ConditionalModel, term: HeldTerm, reader) -> bool:
    """Whether Omega times the residuals is the gradient of the model, here and elsewhere."""
    agree = True
    for point, wanted in gradients_at_values(conditional, term):
        residual, omega = reader(point)
        given = np.einsum("its,si->it", omega[reader.group], residual)
        # Residuals are float32, and large correlations take differences of them.
        size = np.einsum("its,si->it", np.abs(omega[reader.group]), np.abs(residual)).max()
        agree &= np.allclose(given, wanted, rtol=0.0, atol=1e-5 * size + 1e-300)
    return bool(agree)

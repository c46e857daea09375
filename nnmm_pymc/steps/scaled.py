r"""Numbers that are simple functions of variables' elements, read without PyTensor.

Standard deviations and the parameters of marker effects are mostly :math:`b\, e^{p x_c}`, with x
the logarithm of a variance, or a product of such, or :math:`b` times the logistic function of
:math:`x_c`, with x the log odds of a probability; c is an element of the variable, another one for
each number. That they are is seen from the model's own graph, at every check point; anything else
is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pytensor.graph.traversal import ancestors
from scipy.special import expit, logit

from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point, PointFunction

__all__ = ["read_scaled"]

Read = Callable[[Point], np.ndarray]


def read_scaled(conditional: ConditionalModel, graph: Any) -> Read:
    """Reader of an array at a point.

    Parameters
    ----------
    conditional : ConditionalModel
    graph : variable
    """
    above = set(ancestors([graph]))
    if not any(term.held in above for term in conditional.terms):
        function = conditional.compile([graph], mode=QUICK_MODE)
        found = _find(conditional, function)
        if found is not None and _agrees(conditional, found, function):
            return found
    compiled = conditional.compile([graph])
    return lambda point: compiled(point)[0]


def _find(conditional: ConditionalModel, function: PointFunction) -> Read | None:
    names = [n for n in function.names if n.endswith(("_log__", "_logodds__"))]
    if not function.names:
        fixed = function({})[0]
        return lambda point: fixed
    # Other variables, of which the graph knows the shape only, leave it as it is: see `_agrees`.
    start = conditional.check_points[0] | {
        n: np.zeros_like(conditional.check_points[0][n]) for n in names
    }
    (base,) = function(start)
    if len(names) == 1 and names[0].endswith("_logodds__"):
        cells = _cells(function, start, names[0], lambda seen: logit(0.5 * seen / base))
        return lambda point: 2.0 * base * expit(point[names[0]].reshape(-1)[cells])
    parts = []
    for name in names:
        with np.errstate(all="ignore"):
            seen = function(start | {name: np.ones_like(start[name])})[0]
            power = 0.5 * np.rint(2.0 * np.log(seen / base))
        parts.append((name, power, _cells(function, start, name, _logarithm(base, power))))

    def read(point: Point) -> np.ndarray:
        return base * np.exp(sum(p * point[name].reshape(-1)[cells] for name, p, cells in parts))

    return read if parts else None


def _logarithm(base: np.ndarray, power: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda seen: np.log(seen / base) / power


def _cells(
    function: PointFunction, start: Point, name: str, back: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Which element of a variable each number has, from marks of their own that are put there."""
    size = start[name].size
    marks = (1.0 + np.arange(size)) / (1.0 + size)
    with np.errstate(all="ignore"):
        seen = back(function(start | {name: marks.reshape(start[name].shape)})[0])
    known = np.where(np.isfinite(seen), seen, marks[0])
    return np.clip(np.rint(known * (1.0 + size)).astype(int) - 1, 0, size - 1)


def _agrees(conditional: ConditionalModel, found: Read, function: PointFunction) -> bool:
    for point in conditional.check_points:
        given, wanted = found(point), function(point)[0]
        if given.shape != wanted.shape or not np.allclose(given, wanted, rtol=1e-12, atol=0.0):
            return False
    return True

"""A density of a few variables with everything else of the point taken in once.

A slice update or a trajectory evaluates a density many times while only its own variables move.
What does not depend on them (counts of effects, sums of squares, residuals) is computed at the
start and passed as a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.replace import graph_replace

from nnmm_pymc.steps.conditional import STEP_MODE, ConditionalModel, Point, in_order

__all__ = ["HeldDensity", "PartialFunction"]

# Numbers in what is held from which a density is worth the seconds of its compilation.
WORTH_COMPILING = 1000


def _frontier(outputs: Sequence[Variable], own: Sequence[Variable]) -> list[Variable]:
    """Largest parts of a graph that do not depend on some variables."""
    depends: dict[Variable, bool] = dict.fromkeys(own, True)

    def check(variable: Variable) -> bool:
        if variable not in depends:
            inputs = [] if variable.owner is None else variable.owner.inputs
            depends[variable] = any([check(i) for i in inputs])
        return depends[variable]

    found: dict[Variable, None] = {}
    waiting = [v for v in outputs if check(v)]
    seen = set(waiting)
    while waiting:
        variable = waiting.pop()
        for i in [] if variable.owner is None else variable.owner.inputs:
            if i in seen:
                continue
            seen.add(i)
            if check(i):
                waiting.append(i)
            elif not isinstance(i, Constant | SharedVariable):
                found[i] = None
    return list(found)


class PartialFunction:
    """A function of some variables, the rest of the point held by `prepare`.

    Parameters
    ----------
    conditional : ConditionalModel
    outputs : list of variable
    own : list of variable
        The arguments.
    gradient : bool
        Return the gradient of the only output too.
    compiled : bool
        Compile where much is held.
    """

    def __init__(
        self,
        conditional: ConditionalModel,
        outputs: list[Any],
        own: list[Any],
        *,
        gradient: bool = False,
        compiled: bool = False,
    ):
        frontier = _frontier(outputs, own)
        held = [v.type() for v in frontier]
        self.before = conditional.compile(frontier) if frontier else None
        outputs = graph_replace(outputs, dict(zip(frontier, held, strict=True)), strict=False)
        mode: Any = STEP_MODE
        if gradient:
            outputs = [*outputs, *(pt.grad(outputs[0], variable) for variable in own)]
        if compiled:
            self.prepare(conditional.check_points[0])
            largest = max((np.size(v) for v in self.values), default=0)
            mode = "NUMBA" if largest >= WORTH_COMPILING else STEP_MODE
        with in_order():
            self.function: Any = pytensor.function(
                [*own, *held], outputs, mode=mode, on_unused_input="ignore"
            )
        self.function.trust_input = True

    def prepare(self, point: Point) -> None:
        """Take in everything that does not move."""
        self.values = [] if self.before is None else self.before(point)

    def __call__(self, *own: np.ndarray) -> list[np.ndarray]:
        return self.function(*own, *self.values)


class HeldDensity:
    """Log density and gradient of stacked variables, as NUTS calls it.

    Parameters
    ----------
    conditional : ConditionalModel
    density : variable
        Log density, Jacobians included.
    names : list of str
        Value variables, in the order of the stacked vector.
    """

    _raveled_inputs = True
    dtype = "float64"

    def __init__(self, conditional: ConditionalModel, density: Any, names: Sequence[str]):
        self._extra_vars_shared: dict[str, Any] = {}
        self._pytensor_function = self
        point = conditional.check_points[0]
        vector = pt.dvector("stacked")
        parts, start = {}, 0
        for name in names:
            shape = np.shape(point[name])
            stop = start + int(np.prod(shape))
            parts[conditional.values[name]] = vector[start:stop].reshape(shape)
            start = stop
        stacked = graph_replace([density], parts, strict=False)
        self.partial = PartialFunction(conditional, stacked, [vector], gradient=True, compiled=True)

    def prepare(self, point: Point) -> None:
        """Take in everything that does not move."""
        self.partial.prepare(point)

    def __call__(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        # A trajectory may leave the numbers that exp() can hold; NUTS takes that for a divergence.
        with np.errstate(all="ignore"):
            logp, gradient = self.partial(q)
        return float(logp), gradient

"""Slice updates of hyper-parameters whose elements are independent given the rest.

For what has no conjugate conditional and is not worth a trajectory of NUTS: the local scales of a
horseshoe, the degrees of freedom of a t, an exponent. Every element is a scalar problem; all of
them are updated side by side, each exactly (Neal 2003, Ann Stat 31:705).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pymc.step_methods.compound import StepMethodState
from pymc.step_methods.state import dataclass_state

from nnmm_pymc.kernels.slice import slice_sample
from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point
from nnmm_pymc.steps.gibbs import GibbsStep
from nnmm_pymc.steps.partial import PartialFunction

__all__ = ["SliceGibbs", "elementwise_density"]


def elementwise_density(conditional: ConditionalModel, value: str) -> PartialFunction | None:
    """Log conditional density of every element of a variable, on the scale of its value variable.

    Returns
    -------
    PartialFunction of the value, or None if the elements are not independent.
    """
    variable = conditional.values[value]
    shape = np.shape(conditional.check_points[0][value])
    jacobian = _log_jacobian(conditional, value)
    if jacobian is None:
        return None
    names = conditional.factors_of(variable)
    density = jacobian
    for name in names:
        density = density + _summed(conditional, name, value, shape)
    total = jacobian.sum() + pt.sum([conditional.factors[name].sum() for name in names])
    at = variable.type("at")
    function, whole = (
        PartialFunction(conditional, [conditional.in_value(graph, value, at)], [at], compiled=own)
        for graph, own in ((density, True), (total, False))
    )
    return function if _independent(conditional, value, function, whole) else None


def _summed(conditional: ConditionalModel, name: str, value: str, wanted: tuple[int, ...]) -> Any:
    """A factor summed over all that each element of the variable enters."""
    factor = conditional.factors[name]
    size = int(np.prod(wanted))
    if size == 1:
        return pt.full(wanted, factor.sum())
    conditional.refresh(conditional.check_points[0])
    shape = np.shape(conditional.compile([factor], mode=QUICK_MODE)(conditional.check_points[0])[0])
    if shape[len(shape) - len(wanted) :] == wanted:
        return factor.sum(axis=tuple(range(len(shape) - len(wanted))))
    # One more place takes in what no element enters.
    owner = _owners(conditional, factor, value)
    sums = pt.inc_subtensor(pt.zeros(size + 1)[owner.ravel()], factor.ravel())
    return sums[:size].reshape(wanted)


def _owners(conditional: ConditionalModel, factor: Any, value: str) -> np.ndarray:
    """Which element of a variable each element of a factor depends on, read bit by bit.

    Where there are several the answer is wrong, and `_independent` will see it.
    """
    at = conditional.values[value].type("at")
    function = PartialFunction(conditional, [conditional.in_value(factor, value, at)], [at])
    point = conditional.check_points[-1]
    conditional.refresh(point)
    function.prepare(point)
    start = np.asarray(point[value])
    index = np.arange(start.size).reshape(start.shape)
    before = function(start)[0]
    owner = np.where(function(start + 0.5)[0] != before, 0, start.size)
    for bit in range(max(0, start.size - 1).bit_length()):
        moved = function(np.where((index >> bit) & 1, start + 0.5, start))[0]
        owner = np.where((moved != before) & (owner < start.size), owner | (1 << bit), owner)
    return np.minimum(owner, start.size)


def _log_jacobian(conditional: ConditionalModel, value: str) -> Any:
    rv, variable = conditional.rvs[value], conditional.values[value]
    transform = conditional.conditional.rvs_to_transforms[rv]
    if transform is None:
        return pt.zeros_like(variable)
    jacobian = transform.log_jac_det(variable, *rv.owner.inputs)
    if jacobian.ndim != variable.ndim:
        return None
    return conditional.conditional.replace_rvs_by_values([jacobian])[0]


def _independent(
    conditional: ConditionalModel, value: str, function: PartialFunction, whole: PartialFunction
) -> bool:
    """Whether the elements make up the whole density, and moving some leaves the others'.

    Any two elements differ in a bit of their index, so splits by bits tell every pair apart.
    """
    for point in conditional.check_points:
        conditional.refresh(point)
        function.prepare(point)
        whole.prepare(point)
        start = np.asarray(point[value])
        index = np.arange(start.size).reshape(start.shape)
        before, total = function(start)[0], whole(start)[0]
        if before.shape != start.shape:
            return False
        for bit in range(max(1, (start.size - 1).bit_length())):
            for side in (0, 1):
                chosen = (index >> bit) & 1 == side
                moved = np.where(chosen, start + 0.5, start)
                after = function(moved)[0]
                change = whole(moved)[0] - total
                scale = np.abs(after).sum() + np.abs(before).sum()
                if not np.allclose(after[~chosen], before[~chosen], rtol=1e-9, atol=1e-9):
                    return False
                if not abs((after - before).sum() - change) <= 1e-9 * (scale + 1.0):
                    return False
    return True


@dataclass_state
class SliceGibbsState(StepMethodState):
    width: np.ndarray
    tuning: bool
    count: int


class SliceGibbs(GibbsStep):
    """Slice update of every element of one variable.

    Parameters
    ----------
    vars : list of variable
        One variable.
    density : PartialFunction
        From `elementwise_density`.
    model, conditional
        As in `MarkerGibbs`.

    Notes
    -----
    While tuning, the first interval of each element is set to two and a half times its mean move.
    """

    name = "slice_gibbs"
    _state_class = SliceGibbsState

    def __init__(
        self,
        vars,
        *,
        density: PartialFunction,
        conditional: ConditionalModel,
        **kwargs: Any,
    ):
        super().__init__(vars, conditional=conditional, **kwargs)
        self.density = density
        self._reset()

    def _reset(self) -> None:
        self.width = np.ones(np.shape(self.conditional.check_points[0][self.vars[0].name]))
        self.tuning, self.count = True, 0

    def setup_chain(self, rng, tune: int, draws: int) -> None:
        super().setup_chain(rng, tune, draws)
        self._reset()

    def stop_tuning(self) -> None:
        self.tuning = False

    def step(self, point: Point):
        self.conditional.refresh(point)
        name = self.vars[0].name
        start = np.asarray(point[name])
        # A step out may leave the numbers that exp() can hold: no density, no harm.
        with np.errstate(all="ignore"):
            self.density.prepare(point)
            draw = slice_sample(start, lambda at: self.density(at)[0], self.rng, self.width)
        if self.tuning:
            self.count += 1
            moved = np.clip(2.5 * np.abs(draw - start), 0.1 * self.width, 10.0 * self.width)
            self.width = self.width + (moved - self.width) / min(self.count + 1, 50)
        return point | {name: draw}, [{}]

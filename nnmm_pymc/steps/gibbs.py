"""What the steps of our own have in common."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pymc as pm
from pymc.step_methods.compound import BlockedStep, StepMethodState
from pymc.step_methods.state import dataclass_state
from pymc.util import get_value_vars_from_user_vars

from nnmm_pymc.steps.conditional import ConditionalModel

__all__ = ["GibbsStep"]


@dataclass_state
class NoState(StepMethodState):
    """Nothing but the generator outlives a draw."""


class GibbsStep(BlockedStep):
    """A step that draws its variables given the rest of the point.

    Parameters
    ----------
    vars : list of variable
    model : pymc.Model, optional
        Taken from the context.
    conditional : ConditionalModel, optional
        Shared with the other steps of the same chain; made anew by default.
    """

    default_blocked = True
    stats_dtypes_shapes: ClassVar[dict[str, Any]] = {}
    _state_class = NoState

    def __init__(
        self,
        vars,
        *,
        model=None,
        conditional: ConditionalModel | None = None,
        blocked: bool = True,
        rng=None,
    ):
        model = pm.modelcontext(model)
        self.vars = get_value_vars_from_user_vars(vars, model)
        self.rng = np.random.default_rng(rng)
        self.conditional = conditional if conditional is not None else ConditionalModel(model)

"""Step methods: the PyMC side of the kernels, and the plan that gives each variable one of them."""

from nnmm_pymc.steps.conditional import ConditionalModel as ConditionalModel
from nnmm_pymc.steps.markers import MarkerGibbs as MarkerGibbs
from nnmm_pymc.steps.plan import StepPlan as StepPlan
from nnmm_pymc.steps.plan import assign_steps as assign_steps

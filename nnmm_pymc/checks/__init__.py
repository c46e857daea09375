"""Checks of the sampler that a user can run on a model: each step, and all of them together."""

from nnmm_pymc.checks.conditionals import check_conditionals as check_conditionals
from nnmm_pymc.checks.geweke import geweke as geweke

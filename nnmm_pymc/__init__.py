"""nnmm_pymc."""
from nnmm_pymc.priors import *
from nnmm_pymc.formula import *
from nnmm_pymc.distributions import *
from nnmm_pymc.network import *
from nnmm_pymc.summarise import *
from nnmm_pymc.diagnose import *
from nnmm_pymc.sample import sample
from nnmm_pymc.simulation import simulate

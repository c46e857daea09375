"""Data with known truth: a population in LD, omics that its markers drive, traits that these drive.

`simulate` draws from the package's own model, genotypes first (`population`), then omics and
traits (`model`), and returns a `Simulation`: the tables that an analyst would see beside every
effect, weight, variance and breeding value behind them. With it one can ask whether an analysis
finds what is there, and write files to try the command line on.
"""

from nnmm_pymc.simulation.model import simulate as simulate
from nnmm_pymc.simulation.result import Simulation as Simulation

"""Bayesian networks from genotypes through omics to phenotypes, as ordinary PyMC models.

Name the layers (`Layer`), write the equations (`Equation`), and a `Network` gives a ``pymc.Model``
(``network.model``) and a fit (``network.fit()``, an xarray DataTree) from which `breeding_values`,
`marker_effects`, `heritability` and `diagnose` make tables and `plot_fit` a figure. A prior of
marker effects is `MarkerEffects` with any PyMC expression for its inclusion probability and slab
variance; the Bayesian alphabet (`nnmm_pymc.alphabet`: `RRBLUP`, `BayesC`, `BayesR`, ...) are
shorthands. For a model of your own, write `MarkerEffects` and `genetic_value` in it and call
`sample`.

Words: `inclusion` is the probability that a marker HAS an effect (JWAS's pi is that it has none).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# First, as it looks for packages that may be absent, for which it goes through all that is loaded.
import arviz_base  # noqa: F401

from nnmm_pymc.alphabet import GBLUP as GBLUP
from nnmm_pymc.alphabet import RRBLUP as RRBLUP
from nnmm_pymc.alphabet import BayesA as BayesA
from nnmm_pymc.alphabet import BayesB as BayesB
from nnmm_pymc.alphabet import BayesC as BayesC
from nnmm_pymc.alphabet import BayesL as BayesL
from nnmm_pymc.alphabet import BayesR as BayesR
from nnmm_pymc.alphabet import Horseshoe as Horseshoe
from nnmm_pymc.covariance import HalfTCovariance as HalfTCovariance
from nnmm_pymc.crossval import cross_validate as cross_validate
from nnmm_pymc.crossval import summarise_folds as summarise_folds
from nnmm_pymc.data import Genotypes as Genotypes
from nnmm_pymc.data import Table as Table
from nnmm_pymc.data import align as align
from nnmm_pymc.data import latent as latent
from nnmm_pymc.data.pedigree import Pedigree as Pedigree
from nnmm_pymc.data.precision import Precision as Precision
from nnmm_pymc.data.single_step import single_step as single_step
from nnmm_pymc.diagnose import ConvergenceWarning as ConvergenceWarning
from nnmm_pymc.distributions import MarkerEffects as MarkerEffects
from nnmm_pymc.distributions import genetic_value as genetic_value
from nnmm_pymc.elpd import compare_networks as compare_networks
from nnmm_pymc.elpd import phenotype_log_likelihood as phenotype_log_likelihood
from nnmm_pymc.errors import InputError as InputError
from nnmm_pymc.formula import Equation as Equation
from nnmm_pymc.intervene import intervene as intervene
from nnmm_pymc.io import read_connections as read_connections
from nnmm_pymc.io import read_genotypes as read_genotypes
from nnmm_pymc.io import read_relationship as read_relationship
from nnmm_pymc.io import read_table as read_table
from nnmm_pymc.io.pedigrees import read_pedigree as read_pedigree
from nnmm_pymc.io.records import read_records as read_records
from nnmm_pymc.joint_effects import JointMarkerEffects as JointMarkerEffects
from nnmm_pymc.joint_priors import JointBayesC as JointBayesC
from nnmm_pymc.joint_priors import JointRRBLUP as JointRRBLUP
from nnmm_pymc.joint_random_effects import JointRandomEffects as JointRandomEffects
from nnmm_pymc.level_effects import level_effects as level_effects
from nnmm_pymc.log_density import with_log_densities as with_log_densities
from nnmm_pymc.mediation import mediated_heritability as mediated_heritability
from nnmm_pymc.mediation import omic_shares as omic_shares
from nnmm_pymc.network import Layer as Layer
from nnmm_pymc.network import Network as Network
from nnmm_pymc.network import predict_network as predict_network
from nnmm_pymc.prior_check import implied_prior as implied_prior
from nnmm_pymc.prior_groups import MarkerGroups as MarkerGroups
from nnmm_pymc.priors import Prior as Prior
from nnmm_pymc.random_effects import RandomEffects as RandomEffects
from nnmm_pymc.random_effects import level_value as level_value
from nnmm_pymc.registry import list_models as list_models
from nnmm_pymc.registry import load_model as load_model
from nnmm_pymc.registry import save_model as save_model
from nnmm_pymc.sample import sample as sample
from nnmm_pymc.screen import diagnose as diagnose
from nnmm_pymc.sensitivity import sensitivity as sensitivity
from nnmm_pymc.simulation import Simulation as Simulation
from nnmm_pymc.simulation import simulate as simulate
from nnmm_pymc.steps import MarkerGibbs as MarkerGibbs
from nnmm_pymc.steps import assign_steps as assign_steps
from nnmm_pymc.summarise import breeding_values as breeding_values
from nnmm_pymc.summarise import heritability as heritability
from nnmm_pymc.summarise import marker_effects as marker_effects
from nnmm_pymc.summarise import weights as weights
from nnmm_pymc.variance_components import repeatability as repeatability
from nnmm_pymc.variance_components import trait_correlations as trait_correlations
from nnmm_pymc.variance_components import variance_components as variance_components

if TYPE_CHECKING:
    from nnmm_pymc.checks import check_conditionals as check_conditionals
    from nnmm_pymc.checks import geweke as geweke
    from nnmm_pymc.plots import plot_fit as plot_fit
    from nnmm_pymc.plots import plot_network as plot_network
    from nnmm_pymc.plots import plot_pip as plot_pip
    from nnmm_pymc.plots import plot_predicted as plot_predicted
    from nnmm_pymc.store import load as load
    from nnmm_pymc.store import save as save

# Matplotlib, zarr and scipy.stats take most of a second to import, which not every use needs.
_LATER = dict.fromkeys(("plot_fit", "plot_network", "plot_pip", "plot_predicted"), "plots")
_LATER |= {"load": "store", "save": "store", "check_conditionals": "checks", "geweke": "checks"}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"nnmm_pymc.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})

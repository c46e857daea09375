"""Log densities of priors and likelihoods at the draws of a fit, and what they are good for.

Importance weights turn draws under one prior into draws under another, and ArviZ tells from the
densities how hard prior and likelihood pull on the posterior (power-scaling).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from pymc.model.transform.conditioning import remove_value_transforms
from pytensor.graph.traversal import ancestors

from nnmm_pymc.distributions import MarkerEffectsRV
from nnmm_pymc.errors import InputError
from nnmm_pymc.prior_check import marker_dims, prior_sampler
from nnmm_pymc.steps.conditional import QUICK_MODE

if TYPE_CHECKING:
    import pymc as pm

    from nnmm_pymc.network import Network

__all__ = ["effect_draws", "importance_weights", "with_log_densities"]

SAMPLE = ("chain", "draw")
#: Above it importance weights are not to be trusted (Vehtari et al. 2024, section 3.2.4).
K_LIMIT = 0.7
# A fifth of the draws is the tail that is smoothed, and that takes five.
LEAST_DRAWS = 25
# Draws of an alternative prior at which the base prior must have a density too.
SUPPORT_DRAWS = 200

Draws = Mapping[str, np.ndarray]


class Factors:
    """The factors of a model's density, of untransformed variables, by the variable they are of.

    `needs` has the names of the free variables that enter each.
    """

    def __init__(self, model: pm.Model):
        self.model = remove_value_transforms(model)
        variables = [*self.model.basic_RVs, *self.model.potentials]
        densities = self.model.logp(vars=variables, jacobian=False, sum=False)
        self.graphs = {v.name: d for v, d in zip(variables, densities, strict=True)}
        self.values: dict[str, Any] = {v.name: v for v in self.model.value_vars}
        self.needs = {}
        for name, graph in self.graphs.items():
            used = set(ancestors([graph]))
            self.needs[name] = {n for n, value in self.values.items() if value in used}

    def needed(self, names: Iterable[str]) -> list[str]:
        """Free variables that enter these factors."""
        return sorted(set().union(*(self.needs[name] for name in names)))

    def evaluate(self, names: Sequence[str], draws: Draws) -> Iterator[list[np.ndarray]]:
        """Log densities of these factors, element by element, at one draw after the other."""
        needed = self.needed(names)
        function: Any = self.model.compile_fn(
            [self.graphs[name] for name in names],
            inputs=[self.values[n] for n in needed],
            point_fn=False,
            mode=QUICK_MODE,
        )
        columns = [np.asarray(draws[n], float) for n in needed]
        with np.errstate(all="ignore"):
            for i in range(len(next(iter(draws.values())))):
                yield function(*(column[i] for column in columns))

    def sums(self, names: Sequence[str], draws: Draws) -> np.ndarray:
        """Log densities (draw, factor), each summed over its elements."""
        return np.array([[np.sum(d) for d in point] for point in self.evaluate(names, draws)])


def importance_weights(
    network: Network, alternative: Network, result: xr.DataTree, label: str
) -> tuple[xr.DataArray, float]:
    """Pareto smoothed weights that turn the draws of a fit into draws under other priors.

    Parameters
    ----------
    network, alternative : Network
        Of the same variables.
    result : DataTree
        A fit of `network`.
    label : str
        What a message calls the alternative.

    Returns
    -------
    weights : DataArray (chain, draw)
        Proportional to the ratio of the densities of what differs; their mean is one.
    k : float
        Pareto k-hat; at most 0.7.

    Raises
    ------
    InputError
        If no prior differs, a variable is in one network only, a factor that differs needs draws
        that were not stored, the alternative allows what the base excludes, or k-hat is too large.
    """

    def refuse(why: str) -> InputError:
        return InputError(f"{label!r} cannot be had by reweighting: {why}; use method='refit'.")

    base, other = Factors(network.model), Factors(alternative.model)
    strange = sorted(set(base.graphs) ^ set(other.graphs))
    if strange:
        raise refuse(f"only one of the two networks has the variable {strange[0]!r}")
    posterior = result["posterior"].dataset
    stored = {n: _flat(posterior[n]) for n in base.values if n in posterior}
    changed = _changed(base, other, stored)
    if not changed:
        raise InputError(f"{label!r} changes no prior of the network.")
    lacking = [n for n in base.needed(changed) + other.needed(changed) if n not in stored]
    if lacking:
        raise refuse(f"draws of {lacking[0]!r} were not stored")
    excluded = _excluded(base, alternative, changed)
    if excluded:
        raise refuse(f"it allows values of {excluded[0]!r} that the base excludes")
    ratio = (other.sums(changed, stored) - base.sums(changed, stored)).sum(axis=1)
    coords = {d: posterior[d].to_numpy() for d in SAMPLE}
    log_ratio = xr.DataArray(ratio.reshape(posterior.sizes["chain"], -1), coords, SAMPLE)
    log_weights, k = _smoothed(log_ratio)
    if not k <= K_LIMIT:
        raise refuse(f"its Pareto k-hat, {k:.2f}, is not below {K_LIMIT}")
    weights: xr.DataArray = xr.apply_ufunc(np.exp, log_weights - log_weights.max())
    return weights / weights.mean(), k


def _changed(base: Factors, other: Factors, stored: Draws) -> list[str]:
    """The factors that differ between two models, at two points."""
    rng = np.random.default_rng(0)
    shapes = base.model.eval_rv_shapes()
    # What is large is not stored: marker effects, their variances, missing cells. Any value will do
    # for a comparison, and one between 0.1 and 0.9 is in the support of each.
    points = {
        n: stored[n][[0, -1]] if n in stored else rng.uniform(0.1, 0.9, (2, *shapes[n]))
        for n in base.values
    }
    differ = set()
    names = list(base.graphs)
    for a, b in zip(base.evaluate(names, points), other.evaluate(names, points), strict=True):
        for name, x, y in zip(names, a, b, strict=True):
            if not np.allclose(x, y, rtol=1e-10, atol=1e-10, equal_nan=True):
                differ.add(name)
    return sorted(differ)


def _excluded(base: Factors, alternative: Network, changed: list[str]) -> list[str]:
    """Variables of which some draw under the alternative has no density under the base."""
    names = [n for n in changed if n in base.values]
    if not names:
        return []
    needed = base.needed(names)
    sampler = prior_sampler(alternative, needed, random_seed=0)
    points = [sampler() for _ in range(SUPPORT_DRAWS)]
    draws = {n: np.stack(x) for n, x in zip(needed, zip(*points, strict=True), strict=True)}
    inside = np.isfinite(base.sums(names, draws)).all(axis=0)
    return [name for name, found in zip(names, inside, strict=True) if not found]


def _smoothed(log_ratio: xr.DataArray) -> tuple[xr.DataArray, float]:
    """Pareto smoothed log weights and k-hat."""
    if log_ratio.size < LEAST_DRAWS or not np.isfinite(log_ratio.max()):
        return log_ratio, np.inf
    import arviz_stats  # noqa: F401  (gives arrays their .azstats; is slow to import)

    try:
        log_weights, k = (-log_ratio).azstats.psislw(dim=list(SAMPLE))  # it takes minus the log
    except ValueError:  # the largest are all equal, as between two uniform priors
        return log_ratio, -np.inf
    return log_weights, float(k)


def effect_draws(result: xr.DataTree) -> xr.Dataset:
    """The thinned draws of marker effects; empty if the model has none."""
    return result["effect_draws"].dataset if "effect_draws" in result.children else xr.Dataset()


def _flat(array: xr.DataArray) -> np.ndarray:
    values = array.transpose(*SAMPLE, ...).to_numpy()
    return values.reshape(-1, *values.shape[2:])


def _connected(network: Network, effects: xr.Dataset) -> dict[str, xr.DataArray]:
    """Effects of markers on a node without residual, one after another as NUTS has them."""
    found = {}
    for node in network.nodes:
        for edge in node.markers:
            name = f"{node.name}_{edge.label}"
            if f"{name}_connected" in network.model.named_vars and name in effects:
                draws = effects[name].transpose(*SAMPLE, ...).to_numpy()
                reached = np.ones(draws.shape[2:], bool) if edge.mask is None else edge.mask != 0
                dims = (*SAMPLE, f"{name}_connection")
                found[f"{name}_connected"] = xr.DataArray(draws[:, :, reached], dims=dims)
    return found


def with_log_densities(network: Network, result: xr.DataTree) -> xr.DataTree:
    """A result with the groups that ArviZ's power-scaling needs: log_prior and log_likelihood.

    ``arviz.psense_summary`` tells from it which posteriors would move if a prior, or the
    likelihood, were a little stronger. As its authors advise, ``log_prior`` has only the priors at
    the top: those that depend on no other variable, without effects, single markers' variances and
    missing cells. Look at one by ``prior_var_names=["y_residual_variance"]``.

    Parameters
    ----------
    network : Network
    result : DataTree
        A fit of `network`; above a thousand missing cells with ``keep=["omics_missing"]``.

    Returns
    -------
    DataTree
        Groups ``posterior`` (parameters and heritabilities at the draws of which the marker effects
        were kept), ``log_prior`` and ``log_likelihood`` (sums over individuals).

    Raises
    ------
    InputError
        If the likelihood needs a variable that was not stored draw by draw.

    References
    ----------
    Kallioinen, Paananen, Bürkner, Vehtari (2024) Stat Comput 34:57.

    Examples
    --------
    >>> az.psense_summary(with_log_densities(network, network.fit()))  # doctest: +SKIP
    """
    factors, posterior = Factors(network.model), result["posterior"].dataset
    model, wide = factors.model, marker_dims(network)
    effects = effect_draws(result)
    if effects:
        posterior = posterior.sel(draw=effects["draw"])
        own = {str(n): x for n, x in effects.items() if x.dims[2:] == model.named_vars_to_dims[n]}
        own |= _connected(network, effects)
        posterior = posterior.assign({n: x for n, x in own.items() if n not in posterior})
    observed = [rv.name for rv in model.observed_RVs]
    lacking = [n for n in factors.needed(observed) if n not in posterior]
    if lacking:
        raise InputError(
            f"The likelihood needs draws of {lacking[0]!r}, which were not stored; fit again with "
            f"keep=[{lacking[0]!r}], and with RRBLUP in place of GBLUP."
        )
    small = [str(n) for n, x in posterior.items() if not wide & set(x.dims)]
    smooth = [rv.name for rv in model.free_RVs if not isinstance(rv.owner.op, MarkerEffectsRV)]
    top = [n for n in smooth if n in small and factors.needs[n] == {n}]
    draws = {n: _flat(posterior[n]) for n in factors.values if n in posterior}
    values = result["genetic_values"].dataset
    shares = {n: x for n, x in values.items() if str(n).endswith("_heritability")}
    groups = {"posterior": posterior[small].assign(shares)}
    for group, names in (("log_prior", top), ("log_likelihood", observed)):
        shape = [len(names), *(posterior.sizes[d] for d in SAMPLE)]
        densities = factors.sums(names, draws).T.reshape(shape)
        variables = {n: (SAMPLE, x) for n, x in zip(names, densities, strict=True)}
        groups[group] = xr.Dataset(variables, {d: posterior[d].to_numpy() for d in SAMPLE})
    return xr.DataTree.from_dict(groups)

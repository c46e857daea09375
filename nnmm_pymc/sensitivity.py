"""How far the posterior of a network depends on its priors: fit, or reweight, under others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import arviz_base
import numpy as np
import pandas as pd
import xarray as xr

from nnmm_pymc.data import Genotypes
from nnmm_pymc.description import describe, to_json
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import Equation
from nnmm_pymc.log_density import SAMPLE, effect_draws, importance_weights
from nnmm_pymc.merit import merit_draws
from nnmm_pymc.network import Network
from nnmm_pymc.prior_check import marker_dims

__all__ = ["sensitivity"]

LABELLER = arviz_base.labels.BaseLabeller()

Draws = Mapping[str, xr.DataArray]
Merit = Mapping[str, np.ndarray]


def sensitivity(
    network: Network,
    alternatives: Mapping[str, Mapping[str, Mapping[str, Any]]],
    *,
    result: xr.DataTree | None = None,
    method: Literal["refit", "reweight"] = "refit",
    random_seed: int | None = None,
    top: int = 3,
    **options: Any,
) -> pd.DataFrame:
    """What changes in the posterior under other priors.

    Parameters
    ----------
    network : Network
        The base.
    alternatives : mapping
        From a label to the priors that it changes: from the left side of an equation to terms and
        their priors, as in `Equation`. Defaults are derived anew from what it gives.
    result : DataTree, optional
        A fit of `network`; it is fitted first if not given.
    method : {"refit", "reweight"}
        Fit every alternative, or give the draws of the base importance weights. The latter takes
        seconds, needs the alternative to have the same variables, and is refused where the weights
        cannot be trusted.
    random_seed : int, optional
        Of the base fit; alternatives have their own.
    top : int
        Markers of each omic and trait that are compared, those likeliest to have an effect.
    **options
        As in `Network.fit`: draws, tune, chains, ...

    Returns
    -------
    DataFrame
        Columns alternative, quantity, base_mean, base_sd, mean, sd, shift (of the mean, in base
        sd), shift_mcse (its Monte Carlo standard error), pareto_k (of weights). Quantities are
        heritabilities, numbers of markers with an effect (``_causal``), effects and inclusion
        (``_pip``) of top markers, parameters that both models store, and, as a mean, correlations
        of breeding values with those of the base (``_ebv_correlation``).

    Raises
    ------
    InputError
        If an alternative names an unknown equation or term, or must be refitted.

    Examples
    --------
    >>> import nnmm_pymc as nn
    >>> from nnmm_pymc.sensitivity import sensitivity
    >>> data = nn.simulate(n_individuals=100, n_markers=50, n_omics=2, random_seed=1)
    >>> network = nn.Network(
    ...     [nn.Layer("geno", data.genotypes), nn.Layer("omics", data.omics)],
    ...     [nn.Equation("omics ~ 1 + geno", priors={"geno": nn.BayesC()})],
    ... )
    >>> sparse = {"omics": {"geno": nn.BayesC(inclusion=0.05)}}
    >>> options = {"draws": 200, "tune": 100, "chains": 2, "progressbar": False, "quiet": True}
    >>> table = sensitivity(network, {"sparse": sparse}, random_seed=1, **options)
    >>> table.loc[table["quantity"] == "omics_geno_causal[omic1]", "shift"].item() < 0
    True
    """
    if method not in ("refit", "reweight"):
        raise InputError(f"method={method!r} is not known; use 'refit' or 'reweight'.")
    if result is not None and method == "reweight" and options:
        raise InputError(f"{min(options)}= has no use: nothing is fitted.")
    others = {label: _with_priors(network, priors) for label, priors in alternatives.items()}
    if result is None:
        result = network.fit(random_seed=random_seed, **options)
    elif result.attrs.get("network") != to_json(describe(network.nodes)):
        raise InputError("The result is not a fit of this network.")
    markers = _top_markers(result, top)
    base, merit = _quantities(network, result, markers), _merit(network, result)
    rows: list[dict[str, Any]] = []
    for i, (label, other) in enumerate(others.items()):
        if method == "refit":
            seed = None if random_seed is None else random_seed + i + 1
            fitted = other.fit(random_seed=seed, **options)
            shown = _refitted(base, _quantities(other, fitted, markers))
            shown += _correlated(merit, _merit(other, fitted))
        else:
            weights, k = importance_weights(network, other, result, label)
            shown = _reweighted(base, weights)
            shown += _correlated(merit, _merit(network, result, weights))
            shown = [{**row, "pareto_k": k} for row in shown]
        rows += [{"alternative": label, **row} for row in shown]
    return pd.DataFrame(rows)


def _with_priors(network: Network, changes: Mapping[str, Mapping[str, Any]]) -> Network:
    """The network with some priors replaced, and the tables that it has read."""
    layers = [replace(layer, data=network.tables[layer.name]) for layer in network.layers]
    wanted = {tuple(n.strip() for n in left.split("+")): given for left, given in changes.items()}
    unknown = set(wanted) - {e.left for e in network.equations}
    if unknown:
        raise InputError(f"No equation has {' + '.join(min(unknown))!r} on its left side.")
    equations = [_replaced(e, wanted.get(e.left, {})) for e in network.equations]
    return Network(layers, equations)


def _replaced(equation: Equation, given: Mapping[str, Any]) -> Equation:
    # A term may be named as written or by the one name in it; the former would win over the new.
    hidden = {t.label for t in equation.terms for name in given if t.names == (name,)}
    kept = {term: prior for term, prior in equation.priors.items() if term not in hidden}
    return replace(equation, priors={**kept, **given})


def _top_markers(result: xr.DataTree, top: int) -> dict[str, list[dict[Any, Any]]]:
    """By marker term, where the `top` likeliest effects of every column are."""
    found: dict[str, list[dict[Any, Any]]] = {}
    for name, draws in effect_draws(result).items():
        marker, column = draws.dims[2:]
        pip = (draws != 0).mean(SAMPLE).to_numpy()
        size = np.abs(draws.mean(SAMPLE).to_numpy())
        found[str(name)] = [
            {marker: draws[marker].to_numpy()[j], column: draws[column].to_numpy()[k]}
            for k in range(draws.sizes[column])
            for j in np.lexsort((size[:, k], pip[:, k]))[::-1][:top]
        ]
    return found


def _quantities(
    network: Network, result: xr.DataTree, markers: Mapping[str, list[dict[Any, Any]]]
) -> dict[str, xr.DataArray]:
    """Draws of every number that is compared, by its name in ArviZ."""
    values, effects = result["genetic_values"].dataset, effect_draws(result)
    posterior, wide = result["posterior"].dataset, marker_dims(network)
    causal = {f"{name}_causal": (x != 0).sum(str(x.dims[2])) for name, x in effects.items()}
    out = _scalars(values[[n for n in values if str(n).endswith("_heritability")]])
    out |= _scalars(xr.Dataset(causal))
    for name, places in markers.items():
        for place in places:
            effect = effects[name].sel(place)
            out[LABELLER.make_label_flat(name, place, place)] = effect
            out[LABELLER.make_label_flat(f"{name}_pip", place, place)] = effect != 0
    out |= _scalars(posterior[[n for n, x in posterior.items() if not wide & set(x.dims)]])
    return {name: draws.astype(float) for name, draws in out.items()}


def _scalars(dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    return {
        LABELLER.make_label_flat(name, place, index): dataset[name].isel(index)
        for name, place, index in arviz_base.xarray_sel_iter(dataset, skip_dims=set(SAMPLE))
    }


def _refitted(base: Draws, other: Draws) -> list[dict[str, Any]]:
    """Two independent fits, over the quantities of both that vary in one."""
    rows = []
    for name, x in base.items():
        y = other.get(name)
        if y is not None and max(float(x.std()), float(y.std())) > 0:
            rows.append(_row(name, x, y.mean(), y.std(), np.hypot(_mcse(x), _mcse(y))))
    return rows


def _reweighted(base: Draws, weights: xr.DataArray) -> list[dict[str, Any]]:
    """A fit beside its own draws with weights, so that the errors of the means go together."""
    rows = []
    for name, x in base.items():
        if float(x.std()) > 0:
            w = weights.sel(draw=x["draw"])
            w = w / w.mean()
            mean = (w * x).mean()
            sd = np.sqrt((w * (x - mean) ** 2).mean())
            rows.append(_row(name, x, mean, sd, _mcse(w * (x - mean) - (x - x.mean()))))
    return rows


def _mcse(draws: xr.DataArray) -> float:
    import arviz_stats  # Slow to import.

    return float(arviz_stats.mcse(draws)) if float(draws.std()) > 0 else 0.0


def _row(name: str, base: xr.DataArray, mean: Any, sd: Any, error: float) -> dict[str, Any]:
    base_mean, base_sd = float(base.mean()), float(base.std())
    unit = base_sd if base_sd > 0 else np.nan
    return {
        "quantity": name,
        "base_mean": base_mean,
        "base_sd": base_sd,
        "mean": float(mean),
        "sd": float(sd),
        "shift": (float(mean) - base_mean) / unit,
        "shift_mcse": error / unit,
    }


def _merit(network: Network, result: xr.DataTree, weights: xr.DataArray | None = None) -> Merit:
    """Estimated breeding values of every individual, by column."""
    stored = result["genetic_values"].dataset
    means: Merit = {str(name): mean.to_numpy() for name, mean in stored.items()}
    if stored and weights is not None:
        means = _reweighted_merit(network, result, weights)
    return {
        f"{node.name}_ebv_correlation[{column}]": means[f"{node.name}_mean"][:, k]
        for node in reversed(network.nodes)
        for k, column in enumerate(node.columns)
        if f"{node.name}_mean" in means
    }


def _reweighted_merit(network: Network, result: xr.DataTree, weights: xr.DataArray) -> Merit:
    layers = {edge.layer: network.tables[edge.layer] for n in network.nodes for edge in n.markers}
    whole = result["genetic_values"]["individual"].to_index().astype(str)
    genotypes = {k: g.take(whole) for k, g in layers.items() if isinstance(g, Genotypes)}
    w = weights.sel(draw=effect_draws(result)["draw"]).to_numpy().ravel()
    means = {f"{node.name}_mean": np.zeros(()) for node in network.nodes}
    for batch, moments in merit_draws(
        result, genotypes, functions=network.functions, individuals=whole
    ):
        for name, m in moments.items():
            part = np.tensordot(w[batch.index] / w.sum(), m.mean, axes=1)
            means[f"{name}_mean"] = means[f"{name}_mean"] + part
    return means


def _correlated(base: Merit, other: Merit) -> list[dict[str, Any]]:
    with np.errstate(all="ignore"):  # breeding values may be all the same
        correlations = {name: np.corrcoef(x, other[name])[0, 1] for name, x in base.items()}
    return [{"quantity": n, "base_mean": 1.0, "mean": r} for n, r in correlations.items()]

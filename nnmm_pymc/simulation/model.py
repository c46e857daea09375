"""Data with known truth: a population, its omics and traits, drawn from the package's own model.

Omic k and trait t of individual i, with x the dosages and xbar their means in the population:

    z_ik = mu_k + sum_j (x_ij - xbar_j) a_jk + e_ik
    y_it = b_t  + sum_k w_kt g(z_ik) + sum_j (x_ij - xbar_j) d_jt + eps_it
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nnmm_pymc.activations import gaussian_moments
from nnmm_pymc.errors import InputError
from nnmm_pymc.simulation.activations import resolve_activation
from nnmm_pymc.simulation.arguments import (
    causal_count,
    check_count,
    check_missing,
    check_numbers,
    check_shares,
    connected_markers,
    random_streams,
    spread,
    weight_table,
)
from nnmm_pymc.simulation.population import simulate_genotypes
from nnmm_pymc.simulation.result import Simulation

Array = NDArray[np.float64]
PerName = float | Sequence[float]

MARKERS_PER_BLOCK = 512  # so many columns at a time become float64


def simulate(
    n_individuals: int = 500,
    n_markers: int = 1000,
    n_omics: int = 5,
    *,
    n_traits: int = 1,
    activation: str | Callable[[Array], Array] = "tanh",
    omic_h2: PerName = 0.5,
    omic_mean: PerName = 0.0,
    network_r2: float = 0.5,
    direct_r2: float = 0.0,
    intercept: PerName = 0.0,
    n_causal: PerName = 0.05,
    n_direct: float = 0.05,
    weights: PerName | Array | pd.DataFrame | None = None,
    connections: int | Mapping[str, Iterable[str]] | None = None,
    missing: str | None = None,
    missing_fraction: float = 0.4,
    phenotype_missing: float = 0.0,
    n_chromosomes: int = 5,
    n_founders: int = 100,
    generations: int = 10,
    n_families: int | None = None,
    random_seed: int | np.random.Generator | None = None,
) -> Simulation:
    """Simulate genotypes in LD, omics that they drive, and traits that the omics drive.

    Each omic has variance about 1: its genetic values have exactly the variance `omic_h2` in the
    sample, its residuals are drawn with variance 1 - `omic_h2`. "Per omic" or "per trait" below
    means one value for all, or a sequence in order.

    Parameters
    ----------
    n_individuals, n_markers, n_omics, n_traits
        Sizes. Names are i1.., snp1.., omic1.. and y (or y1, y2.. for several traits).
    activation
        g: "identity", "tanh", "sigmoid", "relu", "leaky_relu" (slope 0.01 below zero), or an
        elementwise function of a NumPy array.
    omic_h2, omic_mean
        Heritability and mean of the omics, per omic. Heritability 1 makes a deterministic omic.
    network_r2, direct_r2
        Shares of each trait's variance due to the network, sum_k w_k g(z_k), and to direct marker
        effects; the residual has the rest. In the sample the variances of the first two are in
        these proportions exactly; the covariances of the three parts, 0 on average, come on top.
    intercept
        b, per trait.
    n_causal, n_direct
        Markers with an effect on each omic (per omic) and directly on each trait: a whole number,
        or a fraction in (0, 1] of those that may have one. Effects are normal, places random.
    weights
        w, one per omic, or an (omic x trait) array or DataFrame. Given weights are kept, and the
        other variances follow from them and the shares. None draws them from a normal and scales
        them so that each trait has variance about 1.
    connections
        Markers that may act on each omic: a mapping of every omic's name to marker names, or the
        number of disjoint sets of adjacent markers, dealt to the omics in turn. None: all markers.
    missing
        Omics to hide: None, "cells" (any), "individuals" (all omics of an individual), or "all"
        (every omic is latent).
    missing_fraction, phenotype_missing
        Fraction in [0, 1) of the cells or individuals hidden in omics, and of trait cells.
    n_chromosomes, n_founders, generations
        Chromosomes of 1 Morgan, founder haplotypes, and generations of crossovers since them.
    n_families
        Full-sib families, each of two parents of its own; None for unrelated individuals.
    random_seed
        Anything `numpy.random.default_rng` takes. One integer gives one result (per NumPy version).
        Genotypes, effects, residuals and missingness have streams of their own: with one seed, a
        change of the missing pattern, say, leaves everything else as it was.

    Returns
    -------
    Simulation

    Raises
    ------
    InputError
        If an argument is out of range or names an unknown omic, marker or activation.

    Notes
    -----
    All markers have a minor allele frequency of at least 0.01 (mean about 0.2). Mean r2 with the
    default founders, measured on 1,000 individuals: 0.21 between neighbours and 0.001 between
    markers 100 apart with 1,000 markers (0.5 cM a step); 0.31 and 0.01 with 10,000 (0.05 cM).

    Examples
    --------
    >>> from nnmm_pymc.simulation import simulate
    >>> data = simulate(200, 300, 3, missing="individuals", random_seed=1)
    >>> data
    Simulation(200 individuals, 300 markers, 3 omics (tanh), 1 trait, 40% of omic cells missing)
    >>> data.weights.shape
    (3, 1)
    """
    omics = [f"omic{k}" for k in range(1, check_count(n_omics, "n_omics", 1) + 1)]
    traits = [f"y{t}" for t in range(1, check_count(n_traits, "n_traits", 1) + 1)]
    traits = traits if n_traits > 1 else ["y"]
    g, activation_name = resolve_activation(activation)
    h2 = check_numbers(omic_h2, omics, "omic_h2", 0, 1)
    mean = check_numbers(omic_mean, omics, "omic_mean")
    b = check_numbers(intercept, traits, "intercept")
    given_weights = None if weights is None else weight_table(weights, omics, traits)
    check_shares(network_r2, direct_r2)
    check_missing(missing, missing_fraction, phenotype_missing)
    streams = random_streams(random_seed, 5)
    rng_genotypes, rng_effects, rng_residuals, rng_omics_missing, rng_traits_missing = streams

    population = simulate_genotypes(
        n_individuals,
        n_markers,
        rng_genotypes,
        n_chromosomes=n_chromosomes,
        n_founders=n_founders,
        generations=generations,
        n_families=n_families,
    )
    individuals = [f"i{i}" for i in range(1, n_individuals + 1)]
    markers = [f"snp{j}" for j in range(1, n_markers + 1)]

    parents = connected_markers(connections, omics, markers)
    counts = [
        causal_count(value, rows.size, "n_causal")
        for value, rows in zip(spread(n_causal, omics, "n_causal"), parents, strict=True)
    ]
    a, genetic = _draw_effects(population.genotypes, parents, counts, h2, rng_effects)
    z = mean + genetic + rng_residuals.standard_normal(genetic.shape) * np.sqrt(1 - h2)

    activated = g(z)
    w, variance = _scaled_weights(activated, given_weights, network_r2, traits, rng_effects)
    everywhere = [np.arange(n_markers)] * n_traits
    counts = [causal_count(n_direct, n_markers, "n_direct")] * n_traits
    shares = variance * direct_r2
    d, direct = _draw_effects(population.genotypes, everywhere, counts, shares, rng_effects)
    residual_variance = variance * max(0.0, 1 - network_r2 - direct_r2)
    residual = rng_residuals.standard_normal(direct.shape) * np.sqrt(residual_variance)
    y = b + activated @ w + direct + residual
    known = activation if isinstance(activation, str) else g
    expected, _ = gaussian_moments(known, mean + genetic, np.sqrt(1 - h2))

    hidden = _hidden_cells(missing, missing_fraction, z.shape, rng_omics_missing)
    hidden_traits = _hidden_cells("cells", phenotype_missing, y.shape, rng_traits_missing)
    phenotypes = pd.DataFrame(np.where(hidden_traits, np.nan, y), individuals, traits)
    if population.family is not None:
        phenotypes["family"] = [f"f{f + 1}" for f in population.family]
    places = {"chromosome": population.chromosome, "position": population.position}
    return Simulation(
        genotypes=pd.DataFrame(population.genotypes, individuals, markers, copy=False),
        omics=pd.DataFrame(np.where(hidden, np.nan, z), individuals, omics),
        omics_complete=pd.DataFrame(z, individuals, omics),
        phenotypes=phenotypes,
        marker_effects=pd.DataFrame(a, markers, omics),
        direct_effects=pd.DataFrame(d, markers, traits),
        weights=pd.DataFrame(w, omics, traits),
        omic_means=pd.Series(mean, omics),
        intercepts=pd.Series(b, traits),
        omic_residual_variance=pd.Series(1 - h2, omics),
        residual_variance=pd.Series(residual_variance, traits),
        omic_genetic_values=pd.DataFrame(genetic, individuals, omics),
        breeding_values=pd.DataFrame(b + expected @ w + direct, individuals, traits),
        map=pd.DataFrame(places, markers),
        connections=None
        if connections is None
        else {k: [markers[j] for j in rows] for k, rows in zip(omics, parents, strict=True)},
        activation=activation_name,
    )


def _draw_effects(
    dosages: NDArray[np.int8],
    allowed: list[NDArray[np.int64]],
    counts: list[int],
    variances: Array,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Effects (marker, child) and genetic values (individual, child) of exactly these variances."""
    effects = np.zeros((dosages.shape[1], len(allowed)))
    for child, (rows, count) in enumerate(zip(allowed, counts, strict=True)):
        if variances[child] > 0:
            causal = rng.choice(rows, count, replace=False)
            effects[causal, child] = rng.standard_normal(count)
    genetic = np.zeros((dosages.shape[0], len(allowed)))
    used = np.flatnonzero(effects.any(axis=1))
    for first in range(0, used.size, MARKERS_PER_BLOCK):
        block = used[first : first + MARKERS_PER_BLOCK]
        x = dosages[:, block].astype(np.float64)
        genetic += (x - x.mean(axis=0)) @ effects[block]
    scale = np.sqrt(variances / np.where(variances > 0, genetic.var(axis=0), 1.0))
    return effects * scale, genetic * scale


def _scaled_weights(
    activated: Array,
    given: Array | None,
    share: float,
    traits: list[str],
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Weights (omic, trait) and the variance of each trait at which the network has its share."""
    shape = (activated.shape[1], len(traits))
    if share == 0:
        if given is not None and given.any():
            raise InputError(
                "weights are not zero but network_r2 is 0; raise network_r2 or leave out weights."
            )
        return np.zeros(shape), np.ones(len(traits))
    w = rng.standard_normal(shape) if given is None else given
    variance = (activated @ w).var(axis=0)
    for trait, value in zip(traits, variance, strict=True):
        if not value > 0:
            raise InputError(
                f"the network of trait {trait} does not vary between individuals; change its "
                "weights, the activation or omic_mean, or set network_r2 to 0."
            )
    if given is None:
        return w * np.sqrt(share / variance), np.ones(len(traits))
    return w, variance / share


def _hidden_cells(
    pattern: str | None, fraction: float, shape: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which cells to hide, a fraction of them rounded to the nearest whole number."""
    hidden = np.full(shape, pattern == "all")
    if pattern == "cells":
        hidden.flat[rng.choice(hidden.size, round(fraction * hidden.size), replace=False)] = True
    elif pattern == "individuals":
        hidden[rng.choice(shape[0], round(fraction * shape[0]), replace=False)] = True
    return hidden

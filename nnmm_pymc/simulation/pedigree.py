"""Random pedigrees, and genes dropped through them: the truth that relationships are averages of.

At a neutral locus an individual's two alleles descend from one allele of the base with probability
F, and two individuals share alleles as A says. `drop_genes` follows every allele, so relationship,
inbreeding and single-step matrices can be compared with what happened.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nnmm_pymc.errors import InputError
from nnmm_pymc.simulation.arguments import check_count, check_number
from nnmm_pymc.simulation.population import (
    CHROMOSOME_LENGTH,
    MIN_MAF,
    Population,
    _copy,
    _founder_haplotypes,
    _population_haplotypes,
    _segments,
)


def simulate_pedigree(
    n_individuals: int,
    rng: np.random.Generator,
    *,
    generations: int = 10,
    n_sires: int = 10,
    n_dams: int = 50,
    unknown: float = 0.0,
    selfing: float = 0.0,
) -> pd.DataFrame:
    """Simulate a pedigree of discrete generations with random mating, so with inbreeding.

    Parameters
    ----------
    n_individuals
        Of all generations together, which are of about equal size.
    rng
        Source of all random numbers.
    generations
        Generations after the founders, who are generation 0.
    n_sires, n_dams
        Parents chosen at random in each generation, among its males and among its females; few
        sires mean fast inbreeding.
    unknown
        Share of the parents of non-founders that are not recorded.
    selfing
        Share of the offspring whose dam is also their sire, as in plants.

    Returns
    -------
    pandas.DataFrame
        Columns individual ("i1", ...), sire and dam (NaN if unknown) and generation; parents
        before their offspring.

    Raises
    ------
    InputError
        If a count or share is out of range, or a generation is too small for its parents.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> simulate_pedigree(4, rng, generations=1, n_sires=1, n_dams=1)
      individual sire  dam  generation
    0         i1  NaN  NaN           0
    1         i2  NaN  NaN           0
    2         i3   i1   i2           1
    3         i4   i1   i2           1
    """
    check_count(generations, "generations", 1)
    check_count(n_sires, "n_sires", 1)
    check_count(n_dams, "n_dams", 1)
    n = check_count(n_individuals, "n_individuals", 2 * (generations + 1))
    check_number(unknown, "unknown", 0, 1)
    check_number(selfing, "selfing", 0, 1)
    smallest = n // (generations + 1)
    if 2 * max(n_sires, n_dams) > smallest:
        raise InputError(
            f"n_sires is {n_sires} and n_dams {n_dams}, but half of a generation is {smallest // 2}"
            " individuals; give more individuals, or fewer generations or parents."
        )
    generation = np.sort(np.arange(n) % (generations + 1))
    sire, dam = np.full(n, -1), np.full(n, -1)
    for g in range(1, generations + 1):
        older, rows = np.flatnonzero(generation == g - 1), np.flatnonzero(generation == g)
        males, females = older[0::2], older[1::2]
        dam[rows] = rng.choice(rng.choice(females, n_dams, replace=False), len(rows))
        sire[rows] = rng.choice(rng.choice(males, n_sires, replace=False), len(rows))
        selfed = rows[rng.random(len(rows)) < selfing]
        sire[selfed] = dam[selfed]
    for parent in (sire, dam):
        parent[rng.random(n) < unknown] = -1
    names = np.array([*(f"i{i + 1}" for i in range(n)), np.nan], dtype=object)
    return pd.DataFrame(
        {
            "individual": names[:-1],
            "sire": names[sire],
            "dam": names[dam],
            "generation": generation,
        }
    )


def simulate_pedigree_genotypes(
    pedigree: pd.DataFrame,
    n_markers: int,
    rng: np.random.Generator,
    *,
    n_chromosomes: int = 5,
    n_founders: int = 100,
    generations: int = 10,
) -> Population:
    """Simulate allele dosages of a pedigree: founder haplotypes in LD, dropped with crossovers.

    Parameters
    ----------
    pedigree
        From `simulate_pedigree`. Unknown parents hand down haplotypes of the base population.
    n_markers, n_chromosomes, n_founders, generations
        As in `simulate_genotypes`; n_founders are haplotypes of which the base is made.
    rng
        Source of all random numbers.

    Returns
    -------
    Population
        Dosages (n_individuals, n_markers) in the order of the pedigree, every marker with a minor
        allele frequency of at least 0.01.

    Raises
    ------
    InputError
        If a count is out of range, or not enough polymorphic markers are found.
    """
    check_count(n_chromosomes, "n_chromosomes", 1)
    check_count(n_markers, "n_markers", n_chromosomes)
    check_count(n_founders, "n_founders", 2)
    n_base = int(pedigree[["sire", "dam"]].isna().to_numpy().sum())
    chromosome = np.sort(np.arange(n_markers) % n_chromosomes)
    genotypes, positions = [], []
    for wanted in np.bincount(chromosome):
        position = np.sort(rng.choice(CHROMOSOME_LENGTH, 2 * wanted + 20, replace=False))
        place = position / CHROMOSOME_LENGTH
        founders = _founder_haplotypes(place, n_founders, rng)
        base = _population_haplotypes(founders, place, n_base, generations, rng)
        haplotypes = drop_genes(pedigree, base, place, rng)
        dosage = haplotypes[0::2] + haplotypes[1::2]
        frequency = dosage.mean(axis=0) / 2
        usable = np.flatnonzero(np.minimum(frequency, 1 - frequency) >= MIN_MAF)
        if len(usable) < wanted:
            raise InputError(
                f"no {wanted} markers with a minor allele frequency of {MIN_MAF} were found on a "
                "chromosome; raise n_founders."
            )
        kept = np.sort(rng.choice(usable, wanted, replace=False))
        genotypes.append(dosage[:, kept])
        positions.append(position[kept])
    return Population(np.hstack(genotypes), chromosome + 1, np.concatenate(positions), None)


def drop_genes(
    pedigree: pd.DataFrame,
    base: NDArray[np.int8],
    place: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int8]:
    """Drop haplotypes of one chromosome through a pedigree.

    Parameters
    ----------
    pedigree
        From `simulate_pedigree`.
    base : (unknown parents, marker) array
        Haplotypes handed down by the unknown parents, in the order of the pedigree's rows, sire
        before dam. Different numbers in them show what is identical by descent.
    place : (marker,) array
        Morgans from the start of the chromosome, ascending; one crossover a Morgan.
    rng
        Source of all random numbers.

    Returns
    -------
    (2 n, marker) array of int8
        Rows 2i and 2i + 1 are the haplotypes that individual i has from its sire and its dam.
    """
    index = pd.Index(pedigree["individual"])
    parent = np.column_stack([index.get_indexer(pedigree[side]) for side in ("sire", "dam")])
    parent = parent.ravel()
    parent[pedigree[["sire", "dam"]].isna().to_numpy().ravel()] = -1
    haplotypes = np.empty((len(parent), len(place)), np.int8)
    haplotypes[parent < 0] = base
    cohort = np.repeat(pedigree["generation"].to_numpy(), 2)
    for g in range(1, cohort.max() + 1):
        rows = np.flatnonzero((cohort == g) & (parent >= 0))
        haplotypes[rows] = _gametes_of(haplotypes, parent[rows], place, rng)
    return haplotypes


def _gametes_of(
    haplotypes: NDArray[np.int8],
    parent: NDArray[np.int64],
    place: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int8]:
    """One gamete of each of these individuals: pieces of their two haplotypes in turn."""
    gamete, start = _segments(place, len(parent), 1, rng)
    rank = np.arange(len(gamete)) - np.searchsorted(gamete, gamete)
    phase = rng.integers(2, size=len(parent))
    origin = 2 * parent[gamete] + (phase[gamete] + rank) % 2
    return _copy(haplotypes, gamete, start, origin, len(parent))

"""Genotypes of a simulated population: founder haplotypes in LD, their mosaics, families.

Founder haplotypes come one after another; each copies a mosaic of the earlier ones and every marker
mutates once along the way (the copying model of Li and Stephens, 2003). So the genealogy changes
along the chromosome, which gives LD that decays with distance, and many rare alleles.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnmm_pymc.errors import InputError
from nnmm_pymc.simulation.arguments import check_count

CHROMOSOME_LENGTH = 100_000_000  # base pairs; one Morgan at 1 cM per Mb
COPY_SWITCHES_PER_MORGAN = 20.0  # how often a founder haplotype changes the one it copies
MIN_MAF = 0.01
HAPLOTYPES_PER_BLOCK = 512  # bounds the index array of the copying to tens of megabytes


class Population(NamedTuple):
    """Genotypes (individuals, markers) int8 with the place of each marker and the families."""

    genotypes: NDArray[np.int8]
    chromosome: NDArray[np.int64]
    position: NDArray[np.int64]
    family: NDArray[np.int64] | None


def simulate_genotypes(
    n_individuals: int,
    n_markers: int,
    rng: np.random.Generator,
    *,
    n_chromosomes: int = 5,
    n_founders: int = 100,
    generations: int = 10,
    n_families: int | None = None,
) -> Population:
    """Simulate allele dosages with linkage disequilibrium.

    Parameters
    ----------
    n_individuals, n_markers
        Size of the result; at least 10 individuals and one marker per chromosome.
    rng
        Source of all random numbers.
    n_chromosomes
        Chromosomes of 1 Morgan (100 Mb), with equal numbers of markers as far as possible.
    n_founders
        Founder haplotypes; few founders mean long-range LD.
    generations
        Generations since the founders: crossovers per Morgan in the mosaic of each haplotype.
    n_families
        Number of full-sib families of about equal size, each of two parents of its own.
        None: all individuals are drawn from the population, unrelated beyond the founders.

    Returns
    -------
    Population
        Dosages 0, 1, 2 of the counted allele, (n_individuals, n_markers) int8; every marker has a
        minor allele frequency of at least 0.01 in the sample. Family numbers start at 0.

    Raises
    ------
    InputError
        If a count is out of range, or so few parents or founders segregate that not enough
        polymorphic markers are found.
    """
    n = check_count(n_individuals, "n_individuals", 10)
    n_chromosomes = check_count(n_chromosomes, "n_chromosomes", 1)
    check_count(n_markers, "n_markers", n_chromosomes)
    check_count(n_founders, "n_founders", 2)
    check_count(generations, "generations", 1)
    family = None
    if n_families is not None:
        if check_count(n_families, "n_families", 1) > n:
            raise InputError(
                f"n_families is {n_families}, more than the {n} individuals; give at most {n}."
            )
        family = np.sort(np.arange(n) % n_families)

    chromosome = np.sort(np.arange(n_markers) % n_chromosomes)
    genotypes = np.empty((n, n_markers), dtype=np.int8)
    position = np.empty(n_markers, dtype=np.int64)
    for c in range(n_chromosomes):
        markers = slice(*np.searchsorted(chromosome, [c, c + 1]))
        genotypes[:, markers], position[markers] = _polymorphic_chromosome(
            n, markers.stop - markers.start, n_founders, generations, family, rng
        )
    return Population(genotypes, chromosome + 1, position, family)


def _polymorphic_chromosome(
    n: int,
    n_markers: int,
    n_founders: int,
    generations: int,
    family: NDArray[np.int64] | None,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Dosages and positions of one chromosome: markers that pass MIN_MAF, out of a surplus."""
    n_candidates = n_markers + n_markers // 4 + 10
    for _ in range(6):
        position = np.sort(rng.choice(CHROMOSOME_LENGTH, n_candidates, replace=False))
        place = position / CHROMOSOME_LENGTH
        founders = _founder_haplotypes(place, n_founders, rng)
        if family is None:
            haplotypes = _population_haplotypes(founders, place, 2 * n, generations, rng)
        else:
            n_parents = 2 * (family[-1] + 1)
            parents = _population_haplotypes(founders, place, 2 * n_parents, generations, rng)
            haplotypes = _gametes(parents, place, family, rng)
        dosage = haplotypes[0::2] + haplotypes[1::2]
        frequency = dosage.mean(axis=0) / 2
        usable = np.flatnonzero(np.minimum(frequency, 1 - frequency) >= MIN_MAF)
        if usable.size >= n_markers:
            kept = np.sort(rng.choice(usable, n_markers, replace=False))
            return dosage[:, kept], position[kept]
        n_candidates *= 2
    raise InputError(
        f"no {n_markers} markers with a minor allele frequency of {MIN_MAF} were found on a "
        "chromosome; raise n_individuals, n_families or n_founders."
    )


def _founder_haplotypes(
    place: NDArray[np.float64], n_founders: int, rng: np.random.Generator
) -> NDArray[np.int8]:
    """Haplotypes (founder, marker) in LD; `place` is in Morgans from the chromosome's start."""
    n_markers = place.size
    columns = np.arange(n_markers)
    age = np.arange(1, n_founders)
    # Born in haplotype h, an allele reaches about 1/h of them; a marker panel prefers common ones.
    panel = age**-1.5
    born = rng.choice(age, size=n_markers, p=panel / panel.sum())
    switch_probability = -np.expm1(-COPY_SWITCHES_PER_MORGAN * np.diff(place, prepend=place[0]))
    haplotypes = np.zeros((n_founders, n_markers), dtype=np.int8)
    for h in range(1, n_founders):
        segment = np.cumsum(rng.random(n_markers) < switch_probability)
        source = rng.integers(h, size=segment[-1] + 1)[segment]
        haplotypes[h] = haplotypes[source, columns]
        haplotypes[h, born == h] = 1
    return haplotypes ^ (rng.random(n_markers) < 0.5)  # either allele may be the counted one


def _population_haplotypes(
    founders: NDArray[np.int8],
    place: NDArray[np.float64],
    n_haplotypes: int,
    generations: int,
    rng: np.random.Generator,
) -> NDArray[np.int8]:
    """Mosaics with `generations` crossovers a Morgan, each piece from any founder."""
    child, start = _segments(place, n_haplotypes, generations, rng)
    return _copy(founders, child, start, rng.integers(len(founders), size=child.size), n_haplotypes)


def _gametes(
    parents: NDArray[np.int8],
    place: NDArray[np.float64],
    family: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.int8]:
    """Two gametes an individual: family f has the parents in rows 4f, 4f+1 and 4f+2, 4f+3."""
    n_haplotypes = 2 * family.size
    first_row = np.repeat(4 * family, 2) + 2 * (np.arange(n_haplotypes) % 2)
    child, start = _segments(place, n_haplotypes, 1, rng)
    rank = np.arange(child.size) - np.searchsorted(child, child)
    phase = rng.integers(2, size=n_haplotypes)
    origin = first_row[child] + (phase[child] + rank) % 2
    return _copy(parents, child, start, origin, n_haplotypes)


def _segments(
    place: NDArray[np.float64], n_haplotypes: int, rate: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Haplotype and first marker of every piece between crossovers, in order, first pieces at 0."""
    crossovers = np.repeat(np.arange(n_haplotypes), rng.poisson(rate, n_haplotypes))
    child = np.concatenate([np.arange(n_haplotypes), crossovers])
    # A crossover beyond the last marker starts an empty piece there, which copies nothing.
    starts = np.searchsorted(place, rng.random(crossovers.size))
    start = np.concatenate([np.zeros(n_haplotypes, dtype=np.int64), starts])
    order = np.lexsort((start, child))
    return child[order], start[order]


def _copy(
    sources: NDArray[np.int8],
    child: NDArray[np.int64],
    start: NDArray[np.int64],
    origin: NDArray[np.int64],
    n_haplotypes: int,
) -> NDArray[np.int8]:
    """Put haplotypes together: piece s of haplotype child[s] comes from sources[origin[s]]."""
    n_markers = sources.shape[1]
    columns = np.arange(n_markers)
    haplotypes = np.empty((n_haplotypes, n_markers), dtype=np.int8)
    for first in range(0, n_haplotypes, HAPLOTYPES_PER_BLOCK):
        last = min(first + HAPLOTYPES_PER_BLOCK, n_haplotypes)
        pieces = slice(*np.searchsorted(child, [first, last]))
        begins = (child[pieces] - first) * n_markers + start[pieces]
        lengths = np.diff(begins, append=(last - first) * n_markers)
        source = np.repeat(origin[pieces], lengths).reshape(last - first, n_markers)
        haplotypes[first:last] = sources[source, columns]
    return haplotypes

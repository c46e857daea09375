"""CPU time for large pedigrees: reading, inbreeding, sparse inverse, draws, relationships.

    python benchmarks/pedigree.py [individuals]

Simulates pedigrees of different shapes (100,000 individuals unless said otherwise). The first time
on a machine numba compiles the recursions, which is shown apart.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import nnmm_pymc as nn
from nnmm_pymc.simulation.pedigree import simulate_pedigree

# Generations, sires and dams of each: cattle, few dams, two deep ones, plants that all have seed.
SHAPES = [(10, 100, 2000), (10, 4500, 4500), (50, 20, 500), (50, 500, 900), (200, 10, 100)]


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU time of some work, and what it gives."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def measure(n: int, generations: int, n_sires: int, n_dams: int) -> None:
    """Print the times of one shape."""
    rng = np.random.default_rng(1)
    rows = simulate_pedigree(
        n, rng, generations=generations, n_sires=n_sires, n_dams=n_dams, unknown=0.01
    )
    reading, pedigree = seconds(lambda: nn.read_pedigree(rows))
    inbreeding, _ = seconds(lambda: pedigree.inbreeding)
    inverse, precision = seconds(pedigree.inverse)
    draw, value = seconds(lambda: pedigree.draw(rng))
    density, _ = seconds(lambda: pedigree.log_density(value))
    some = rng.choice(pedigree.individuals, 2000, replace=False)
    dense, _ = seconds(lambda: pedigree.relationship(some))
    # A^-1 A v = v checks the inverse against the recursion.
    product = pedigree.times(value)
    error = np.abs(precision.matrix @ product - value).max() / np.abs(product).max()
    print(
        f"{generations:4} generations, {n_sires:5} sires, {n_dams:5} dams: read {reading:.2f} s, "
        f"inbreeding {inbreeding:.2f} s, inverse {inverse:.2f} s, draw {draw:.3f} s, log density "
        f"{density:.3f} s, A of 2,000 {dense:.2f} s; mean F {pedigree.inbreeding.mean():.4f}, "
        f"{precision.matrix.nnz / n:.1f} elements a row, relative error of A^-1 A v {error:.0e}"
    )


if __name__ == "__main__":
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    small = nn.read_pedigree(simulate_pedigree(99, np.random.default_rng(1), n_sires=2, n_dams=2))
    compiling, _ = seconds(lambda: (small.inverse(), small.draw(np.random.default_rng(1))))
    print(f"{n} individuals; loading or compiling took {compiling:.1f} s")
    for shape in SHAPES:
        measure(n, *shape)

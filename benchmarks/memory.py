"""Peak memory of a fit: n = 5,000, p = 20,000, 10 omics, two chains.

    python benchmarks/memory.py

Prints the peak of the parent and of the largest child (resident, pages shared with the parent
included), and their proportional sum (PSS), which counts shared pages once.
"""

from __future__ import annotations

import resource
import threading
import time
from pathlib import Path

import numpy as np

import nnmm_pymc as nn


def tree_pss() -> int:
    """Proportional set size of this process and its children, in bytes."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/smaps_rollup"):
        try:
            pid = int(status.parent.name)
            parent = int((status.parent / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if OWN in (pid, parent):
                for line in status.read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += 1024 * int(line.split()[1])
        except (OSError, ValueError):
            continue
    return total


def watch(peak: list[int], stop: threading.Event) -> None:
    while not stop.is_set():
        peak[0] = max(peak[0], tree_pss())
        time.sleep(0.2)


if __name__ == "__main__":
    import os

    OWN = os.getpid()
    n, p, k = 5_000, 20_000, 10
    rng = np.random.default_rng(1)
    frequency = rng.uniform(0.05, 0.95, p)
    dosages = np.empty((n, p), np.int8)
    for start in range(0, p, 1000):
        block = frequency[start : start + 1000]
        dosages[:, start : start + 1000] = rng.binomial(2, block, (n, len(block)))
    effects = np.zeros((p, k), np.float32)
    for column in effects.T:
        column[rng.choice(p, 100, replace=False)] = rng.normal(0, 0.1, 100)
    omics = np.zeros((n, k))
    for start in range(0, p, 1000):
        block = dosages[:, start : start + 1000].astype(np.float32)
        omics += block @ effects[start : start + 1000]
    omics += rng.normal(size=omics.shape)
    y = np.tanh(omics - omics.mean(0)) @ rng.normal(size=k) + rng.normal(size=n)
    omics[rng.random(omics.shape) < 0.3] = np.nan
    genotypes = nn.read_genotypes(dosages)
    del dosages
    import pandas as pd

    ids = genotypes.individuals
    peak, stop = [0], threading.Event()
    watcher = threading.Thread(target=watch, args=(peak, stop))
    watcher.start()
    network = nn.Network(
        [
            nn.Layer("geno", genotypes),
            nn.Layer("omics", pd.DataFrame(omics, index=ids).add_prefix("omic")),
            nn.Layer("pheno", pd.DataFrame({"y": y}, index=ids)),
        ],
        [
            nn.Equation("omics ~ 1 + geno", priors={"geno": nn.BayesC()}),
            "y ~ 1 + tanh(scale(omics))",
        ],
    )
    fit = network.fit(draws=60, tune=20, chains=2, random_seed=1, progressbar=False, quiet=True)
    stop.set()
    watcher.join()
    print(f"int8 matrix {genotypes.dosages.nbytes / 1e6:.0f} MB")
    print(f"peak of parent and chains together (PSS) {peak[0] / 1e6:.0f} MB")
    for who, name in ((resource.RUSAGE_SELF, "parent"), (resource.RUSAGE_CHILDREN, "a chain")):
        print(f"peak resident of {name} {resource.getrusage(who).ru_maxrss / 1e3:.0f} MB")

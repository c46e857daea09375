"""Simulation-based calibration through the public interface.

    python benchmarks/calibration.py PRIOR NETWORK REPLICATES [seed]

    PRIOR     RRBLUP GBLUP BayesA BayesB BayesC BayesL BayesR Horseshoe MarkerGroups, of the marker
              effects; JointRRBLUP and JointBayesC with `traits`
    NETWORK   plain        traits ~ geno
              binary       as `plain`, of traits with two categories
              relatives    traits ~ geno + pedigree
              traits       as `plain`, two traits with correlated residuals to an equation
              observed     traits ~ omics, omics ~ geno, all observed
              individuals  tanh, omics missing for a third of the individuals (NUTS)
              cells        identity, a third of the cells missing (exact draws)
              hmc          sigmoid, as `individuals`, latent="hmc"
              direct       as `cells`, and traits ~ omics + geno
              partial      as `individuals`, and each omic has three markers of its own
              function     as `individuals`, with a user's function of two omics for tanh
              sequence     as `individuals`, and between omics and traits another such layer

Parameters are drawn from the prior, data from them, and the rank of each parameter among thinned
draws of its posterior must be uniform (Talts et al. 2018, arXiv:1804.06788). Printed is for each
group of parameters whether the empirical distribution of the ranks stays inside the simultaneous
99 % band (Säilynoja et al. 2022, Stat Comput 32:32).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from replicates import Replicates, inside_band


def main(prior: str, kind: str, wanted: int, seed: int = 1) -> None:
    replicates, found = Replicates(prior, kind, seed), dict[str, list[float]]()
    began = time.process_time()
    while not found or min(map(len, found.values())) < wanted:
        for name, ranks in replicates.fit().items():
            found.setdefault(name, []).extend(ranks)
    seconds, inside = time.process_time() - began, 0
    size = len(next(iter(found.values())))
    for name, ranks in found.items():
        ok = inside_band(ranks)
        inside += ok
        p = stats.kstest(ranks, "uniform").pvalue
        print(f"  {name:36} {'inside' if ok else 'OUTSIDE':8} Kolmogorov p {p:.3f}")
    print(
        f"{prior} {kind}: {size} replicates, {inside} of {len(found)} groups inside the band, "
        f"{seconds:.0f} s CPU",
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))

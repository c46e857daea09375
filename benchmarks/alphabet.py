"""Every prior of the alphabet against exact posteriors by numerical integration.

    python benchmarks/alphabet.py [--draws 4000] [--repeats 4] [--only "BayesR" ...]

40 individuals, 4 linked markers, 2 omics, some cells of the second missing; for weights of omics 4
observed omics and 2 traits; for GBLUP 40 genotyped individuals, 25 of them with a phenotype. The
reference is in `tests/test_alphabet.py`. Compared are means and sds of effects, inclusion
probabilities, variances and all other hyper-parameters. Every prior is fitted several times with
other seeds; z has the Monte Carlo error of its fit. Printed are, over all fits of a prior, the
number of comparisons, the largest |z| and the mean z^2 (wanted: below 4 and 1.5), and the same for
the sums of z over the fits, in which a bias would add up.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import nnmm_pymc as nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from test_alphabet import (
    RULES,
    Belief,
    Grid,
    always,
    belief_of,
    compare,
    gblup_comparisons,
    likelihoods,
    moments,
    omics_network,
    one_variance,
    sampled,
    side_by_side,
    small_data,
    terms_of,
    weights_network,
)

GROUPS = {"snp0": "a", "snp1": "b", "snp2": "a", "snp3": "b"}
CONNECTIONS = {"omic1": ["snp0", "snp2"], "omic2": ["snp1", "snp2", "snp3"]}
DF = nn.Prior("Gamma", alpha=2, beta=0.1)
SCALE = nn.Prior("Gamma", alpha=1.1, beta=2.0)
SHARED = nn.Prior("Beta", alpha=1, beta=2, dims=())
DIRICHLET = nn.Prior("Dirichlet", a=[5, 2, 1])

PRIORS: dict[str, Any] = {
    "RRBLUP": nn.RRBLUP(),
    "GBLUP": nn.GBLUP(),
    "BayesA": nn.BayesA(),
    "BayesA, number": nn.BayesA(scale=0.3),
    "BayesA, gamma scale": nn.BayesA(scale=SCALE),
    "BayesA, own prior": nn.BayesA(nn.Prior("InverseGamma", alpha=3.0, beta=0.6)),
    "BayesB": nn.BayesB(),
    "BayesB, df learned": nn.BayesB(df=DF),
    "BayesB, inclusion 0.3": nn.BayesB(inclusion=0.3, df=4.0),
    "BayesC": nn.BayesC(),
    "BayesC, inclusion 0.2": nn.BayesC(inclusion=0.2),
    "BayesC, shared": nn.BayesC(inclusion=SHARED),
    "BayesL": nn.BayesL(),
    "BayesL, number": nn.BayesL(lambda_squared=10.0),
    "BayesR": nn.BayesR(),
    "BayesR, two normals": nn.BayesR(class_probabilities=DIRICHLET, class_variances=(0.2, 1.0)),
    "Horseshoe": nn.Horseshoe(),
    "by omic": {"omic1": nn.BayesR(), "*": nn.BayesB(df=DF)},
    "by group, BayesC": nn.MarkerGroups(GROUPS, nn.BayesC()),
    "by group, RRBLUP": nn.MarkerGroups(GROUPS, nn.RRBLUP()),
    "by named group": nn.MarkerGroups(GROUPS, {"b": nn.BayesR(), "*": nn.BayesC(inclusion=0.5)}),
}
CONNECTED = {
    "BayesC": nn.BayesC(),
    "BayesR": nn.BayesR(class_probabilities=DIRICHLET, class_variances=(0.2, 1.0)),
}
WEIGHTS = {
    "BayesB": nn.BayesB(),
    "BayesC": nn.BayesC(),
    "BayesL": nn.BayesL(),
    "BayesR": nn.BayesR(),
    "Horseshoe": nn.Horseshoe(),
}
GBLUPS = ("GBLUP", "RRBLUP", "kinship")

Exact = dict[str, dict[str, tuple[float, float]]]


@dataclass
class Problem:
    """A network and the exact posterior of every column of its last node."""

    network: nn.Network
    exact: Exact

    def fit(self, draws: int, seed: int) -> pd.DataFrame:
        """Comparisons of one fit."""
        node, term, _ = terms_of(self.network)
        posterior = sampled(self.network, draws, seed=seed, tune=500)
        tables = [compare(posterior, node, term, c, self.exact[c]) for c in self.exact]
        return pd.concat(tables, ignore_index=True)


def exact_posterior(network: nn.Network, columns: dict, markers: list[str], grid: Grid) -> Exact:
    """Exact posterior of each column under the priors of the network."""
    _, term, priors = terms_of(network)
    prior, connections = priors[term], network.equations[-1].connections
    beliefs = {}
    for k, c in enumerate(columns):
        if isinstance(prior, nn.GBLUP):
            beliefs[c] = gblup(prior, k, network, markers, grid)
        elif connections is not None:
            beliefs[c] = connected(prior, k, connections[c], markers, grid)
        else:
            beliefs[c] = belief_of(prior, c, list(columns), markers, grid)
    if getattr(prior, "inclusion", None) == SHARED:
        share(columns, beliefs)
    exact = {c: moments(columns[c], beliefs[c])[0] for c in columns}
    if isinstance(prior, nn.GBLUP):  # its effects are those of eigenvectors
        own = ("effect", "included")
        exact = {c: {n: v for n, v in e.items() if not n.startswith(own)} for c, e in exact.items()}
    return exact


def gblup(prior: nn.GBLUP, k: int, network: nn.Network, markers: list[str], grid: Grid) -> Belief:
    """GBLUP as ridge regression with a variance of v times the sum of the marker variances."""
    genotypes = network.tables["geno"].to_frame()
    total = genotypes.var(ddof=0).sum()
    alpha, beta = (prior.genetic_variance.parameters[name] for name in ("alpha", "beta"))
    slab = nn.Prior("InverseGamma", alpha=alpha, beta=beta / total)
    belief = one_variance(nn.RRBLUP(slab), k, len(markers), grid, 0.8)
    belief.values = {"genetic_variance": belief.values["slab_variance"] + np.log(total)}
    return belief


def connected(prior: Any, k: int, reached: list[str], markers: list[str], grid: Grid) -> Belief:
    """A prior of the markers that reach a column; the others have no effect."""
    inside = [j for j, m in enumerate(markers) if m in reached]
    outside = [j for j, m in enumerate(markers) if m not in reached]
    nothing = Belief(np.ones(1), {}, always(grid.spike[None], len(outside)))
    own = RULES[type(prior)](prior, k, len(inside), grid, 0.8)
    return side_by_side([(inside, own), (outside, nothing)])


def share(columns: dict, beliefs: dict[str, Belief]) -> None:
    """Beliefs about an inclusion probability that all columns have in common, in place.

    What one column says of it is a factor of the prior of the others.
    """
    factors, at = {}, {}
    for c, belief in beliefs.items():
        _, at[c] = np.unique(belief.values["inclusion"], return_inverse=True)
        evidence = moments(columns[c], belief)[1]
        given = np.bincount(at[c], belief.weight * evidence) / np.bincount(at[c], belief.weight)
        factors[c] = given / given.max()
    for c, belief in beliefs.items():
        others = np.prod([factors[d] for d in factors if d != c], axis=0)
        beliefs[c] = replace(belief, weight=belief.weight * others[at[c]])


def problems(only: list[str]) -> Iterator[tuple[str, Callable[[int, int], pd.DataFrame]]]:
    """Label and fit of every prior."""

    def wanted(label: str) -> bool:
        return not only or label in only

    grid = Grid()
    genotypes, omics = small_data(p=4)
    markers = list(genotypes)
    plain = omics_network(nn.RRBLUP(), genotypes, omics)
    columns = likelihoods(plain, genotypes - genotypes.mean(), omics, grid)
    cases = {n: (prior, None) for n, prior in PRIORS.items()}
    cases |= {f"{n}, connections": (prior, CONNECTIONS) for n, prior in CONNECTED.items()}
    for label, (prior, connections) in cases.items():
        if wanted(label):
            network = omics_network(prior, genotypes, omics, connections)
            yield label, Problem(network, exact_posterior(network, columns, markers, grid)).fit
    del columns
    parents, traits = observed_omics()
    columns = likelihoods(weights_network(nn.RRBLUP(), parents, traits), parents, traits, grid)
    for name, prior in WEIGHTS.items():
        if wanted(f"weights, {name}"):
            network = weights_network(prior, parents, traits)
            exact = exact_posterior(network, columns, list(parents), grid)
            yield f"weights, {name}", Problem(network, exact).fit
    for kind in GBLUPS:
        if wanted(f"mixed model, {kind}"):
            yield f"mixed model, {kind}", partial(gblup_comparisons, kind)


def observed_omics() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Four omics of 40 individuals and two traits that some of them act on."""
    rng = np.random.default_rng(3)
    omics = rng.normal(0.7, 1.0, (40, 4)) @ (0.7 * np.eye(4) + 0.3)
    effects = np.array([[0.4, 0.0], [0.0, -0.2], [0.1, 0.3], [-0.2, 0.0]])
    traits = omics @ effects + 0.9 * rng.normal(size=(40, 2))
    return pd.DataFrame(omics, columns=list("abcd")), pd.DataFrame(traits, columns=["y", "z"])


def summary(tables: list[pd.DataFrame]) -> str:
    z = np.array([table["z"] for table in tables])
    together = z.sum(axis=0) / np.sqrt(len(z))
    worst = tables[0].iloc[np.abs(together).argmax()]
    where = " ".join(str(worst.get(part, "")) for part in ("column", "name", "of"))
    return (
        f"{z.size:5} {np.abs(z).max():6.2f} {np.mean(z**2):6.2f}  |"
        f" {np.abs(together).max():6.2f} {np.mean(together**2):6.2f}  {where}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=4000, help="of each of two chains")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--only", nargs="*", default=[], help="labels of priors")
    arguments = parser.parse_args()
    print(f"{'prior':26}    n max|z| mean z2 | of the sums of z: max, mean square, the largest")
    for number, (label, fit) in enumerate(problems(arguments.only)):
        start = time.perf_counter()
        seeds = range(1000 * number, 1000 * number + arguments.repeats)
        tables = [fit(arguments.draws, seed) for seed in seeds]
        seconds = time.perf_counter() - start
        print(f"{label:26}{summary(tables)} ({seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    main()

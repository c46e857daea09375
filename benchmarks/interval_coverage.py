"""Do 90 % intervals hold the truth? Every type of network, activation and missing pattern.

    python benchmarks/interval_coverage.py [--fits 5] [--first 1] [--draws 400] [WORD ...]

A combination is a type, an activation and a pattern ("direct tanh cells"); words choose those that
have them all. Every pass over them is a fit of each, and prints what all passes have so far; at the
end everything is pooled by type, activation and pattern. Types:

    full      markers -> omics -> traits
    partial   each omic has three markers of its own
    direct    and markers act on the traits too
    function  traits follow a function of one's own of the omics: neighbours that gate each other,
              or a saturation with an unknown parameter
    sequence  omics -> metabolites -> traits
    parent    omics -> first traits -> second traits, on which markers act too

Patterns hide nothing, all omics of a third of the individuals, a third of the cells, or all: that
is a latent layer. In the last three a tenth of the traits is missing.

Parameters are drawn from the priors of the fitted model, which are proper and moderately
informative, and data from them, both here in NumPy: then an exact posterior covers exactly 90 %,
whatever the data say of a parameter. Wanted: shares between 0.85 and 0.95, of at least 200 weights,
residual variances, and genetic values (of traits and omics, each of three individuals drawn at
random; intervals of traits are those of `predict`, of omics mean -+ 1.645 sd). Of latent layers
only what is identified is counted: genetic values, which are the network's output, and residual
variances of the traits; weights between observed layers. Weights of traits that share missing
omics, and genetic values of a fit, are not quite independent. With S effective draws (printed: the
fewest of the fit) an interval between quantiles covers 1.8 / S too little.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm

import nnmm_pymc as nn
from nnmm_pymc.activations import NUMPY_ACTIVATIONS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from small_models import INTERCEPT, MARKERS, VARIANCE, WEIGHTS

N, P = 40, 8
IDS, SNPS = [f"i{i}" for i in range(N)], [f"m{j}" for j in range(P)]
WIDTH = {"omics": 6, "metabolites": 5, "first": 8, "pheno": 60}
HIDDEN = ("omics", "metabolites")
PARENTS = {
    "full": {"omics": ["geno"], "pheno": ["omics"]},
    "partial": {"omics": ["geno"], "pheno": ["omics"]},
    "direct": {"omics": ["geno"], "pheno": ["omics", "geno"]},
    "function": {"omics": ["geno"], "pheno": ["omics"]},
    "sequence": {"omics": ["geno"], "metabolites": ["omics"], "pheno": ["metabolites"]},
    "parent": {"omics": ["geno"], "first": ["omics"], "pheno": ["first", "geno"]},
}
ACTIVATIONS = ("identity", "tanh", "sigmoid", "relu", "leaky_relu")
PATTERNS = ("none", "individuals", "cells", "all")
LATENT_VARIANCE = 0.5
SHOWN = 3


def gate(z: Any) -> Any:
    """Each omic as far as the next one lets it; of PyTensor in the model, of NumPy here."""
    return z[:, :-1] / (1.0 + 2.0 ** -z[:, 1:])


def saturation(z: Any, half: Any = None) -> Any:
    half = pm.HalfNormal("half", 1.0) if half is None else half
    return abs(z) / (half + abs(z))


FUNCTIONS = {"gate": gate, "saturation": saturation}
COMBINATIONS = [
    f"{kind} {activation} {pattern}"
    for kind in PARENTS
    for activation in (FUNCTIONS if kind == "function" else ACTIVATIONS)
    for pattern in PATTERNS
]


class Replicate:
    """A truth drawn from the priors, data drawn from it, and the network that fits them."""

    def __init__(self, combination: str, seed: int):
        self.kind, self.activation, self.pattern = combination.split()
        self.parents = PARENTS[self.kind]
        # Independent truths: combinations of one seed are pooled.
        self.rng = np.random.default_rng([seed, COMBINATIONS.index(combination)])
        self.genotypes = pd.DataFrame(self.rng.binomial(2, 0.4, (N, P)).astype(float), IDS, SNPS)
        self.x = (self.genotypes - self.genotypes.mean()).to_numpy()
        self.columns = {v: [f"{v}{k}" for k in range(WIDTH[v])] for v in self.parents}
        self.hidden = [v for v in self.parents if v in HIDDEN and self.pattern == "all"]
        self.reached = np.ones((P, WIDTH["omics"]))
        if self.kind == "partial":
            self.reached = np.array(
                [[(j - k) % P < 3 for k in range(WIDTH["omics"])] for j in range(P)], float
            )
        self.truth = self.draw_parameters()
        self.data = {v: self.hide(v, z) for v, z in self.values(self.x)[1].items()}

    def draw_parameters(self) -> dict[str, np.ndarray]:
        """By the names that they have in the posterior."""
        rng = self.rng
        drawn = {"half": np.abs(rng.normal(size=()))}
        for node, parents in self.parents.items():
            k = WIDTH[node]
            drawn[f"{node}_Intercept"] = rng.normal(0.3, 0.5, k)
            variance = 3.0 / rng.gamma(4.0, size=k)
            drawn[f"{node}_residual_variance"] = (
                np.full(k, LATENT_VARIANCE) if node in self.hidden else variance
            )
            for parent in parents:
                if parent == "geno":
                    inclusion, slab = rng.beta(2.0, 3.0, k), 0.6 / rng.gamma(4.0, size=k)
                    effects = rng.normal(size=(P, k)) * np.sqrt(slab)
                    effects *= rng.random((P, k)) < inclusion
                    drawn[f"{node}_geno"] = effects * (self.reached if node == "omics" else 1.0)
                else:
                    width = self.activated(np.zeros((1, WIDTH[parent])), drawn).shape[1]
                    drawn[f"{node}_{self.edge(parent)}"] = rng.normal(0.2, 0.6, (width, k))
        return drawn

    def edge(self, parent: str) -> str:
        return "f(omics)" if self.kind == "function" and parent == "omics" else parent

    def activated(self, z: np.ndarray, parameters: dict[str, np.ndarray]) -> np.ndarray:
        if self.activation == "saturation":
            return saturation(z, parameters["half"])
        return gate(z) if self.activation == "gate" else NUMPY_ACTIVATIONS[self.activation](z)

    def values(self, x: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Means given their parents, and values, of all nodes at these centred dosages."""
        means, values = dict[str, np.ndarray](), dict[str, np.ndarray]()
        for node, parents in self.parents.items():
            means[node] = self.truth[f"{node}_Intercept"] + np.zeros((len(x), 1))
            for parent in parents:
                inner = x if parent == "geno" else self.activated(values[parent], self.truth)
                means[node] = means[node] + inner @ self.truth[f"{node}_{self.edge(parent)}"]
            sd = np.sqrt(self.truth[f"{node}_residual_variance"])
            values[node] = means[node] + sd * self.rng.normal(size=means[node].shape)
        return means, values

    def genetic_values(self, repeats: int = 2000) -> dict[str, np.ndarray]:
        """Expected values of all nodes given the dosages."""
        means, _ = self.values(np.repeat(self.x, repeats, axis=0))
        return {v: m.reshape(N, repeats, -1).mean(axis=1) for v, m in means.items()}

    def hide(self, node: str, z: np.ndarray) -> pd.DataFrame | object:
        table = pd.DataFrame(z, IDS, self.columns[node])
        if node in self.hidden:
            return nn.latent(self.columns[node])
        if self.pattern == "none":
            return table
        if node == "pheno":
            return table.mask(self.rng.random(z.shape) < 0.1)
        if self.pattern == "individuals":
            table.iloc[::3] = np.nan
            return table
        return table.mask(self.rng.random(z.shape) < 1 / 3)

    def network(self) -> nn.Network:
        layers = [nn.Layer("geno", self.genotypes)]
        layers += [nn.Layer(v, table) for v, table in self.data.items()]
        return nn.Network(layers, [self.equation(v) for v in self.parents])

    def equation(self, node: str) -> nn.Equation:
        hidden = node in self.hidden
        priors = {
            "Intercept": INTERCEPT,
            "residual_variance": LATENT_VARIANCE if hidden else VARIANCE,
        }
        terms = ["1"]
        for parent in self.parents[node]:
            genetic, call = parent == "geno", "f" if self.kind == "function" else self.activation
            terms.append(parent if genetic else f"{call}({parent})")
            priors[terms[-1]] = MARKERS["BayesC"] if genetic else WEIGHTS
        connections = None
        if self.kind == "partial" and node == "omics":
            connections = {
                column: [m for m, there in zip(SNPS, self.reached[:, k], strict=True) if there]
                for k, column in enumerate(self.columns[node])
            }
        functions = {"f": FUNCTIONS[self.activation]} if "f(omics)" in terms else {}
        return nn.Equation(
            f"{node} ~ {' + '.join(terms)}",
            priors=priors,
            connections=connections,
            functions=functions,
        )


def covered(combination: str, seed: int, draws: int) -> tuple[dict[str, list[bool]], float]:
    """Which intervals of one fit hold the truth, and the fewest effective draws."""
    replicate = Replicate(combination, seed)
    network = replicate.network()
    result = network.fit(
        draws=draws,
        tune=draws // 2,
        chains=1,
        cores=1,
        random_seed=seed,
        progressbar=False,
        quiet=True,
    )
    posterior, found, effective = result["posterior"].dataset, defaultdict(list), []
    for node, parents in replicate.parents.items():
        names = {"weights": [f"{node}_{replicate.edge(v)}" for v in parents if v != "geno"]}
        names["variances"] = [f"{node}_residual_variance"]
        if node in replicate.hidden:
            names = {}
        elif set(parents) & set(replicate.hidden):
            names["weights"] = []
        for group, own in names.items():
            for name in own:
                low, high = posterior[name].quantile([0.05, 0.95], ("chain", "draw")).to_numpy()
                truth = replicate.truth[name]
                found[group] += list(((low <= truth) & (truth <= high)).ravel())
                effective.append(float(az.ess(posterior[name]).min()))
    intervals = genetic_intervals(network, result, replicate)
    for node, truth in replicate.genetic_values().items():
        if node not in replicate.hidden:
            for column, values in zip(replicate.columns[node], truth.T, strict=True):
                i = replicate.rng.choice(N, SHOWN, replace=False)
                low, high = intervals.loc[column].loc[[IDS[k] for k in i]].to_numpy().T
                found["genetic values"] += list((low <= values[i]) & (values[i] <= high))
    return found, min(effective)


def genetic_intervals(network: nn.Network, result: Any, replicate: Replicate) -> pd.DataFrame:
    """By trait or omic and individual."""
    found = nn.breeding_values(result)
    away = 1.645 * found["sd"]
    found = found.assign(ebv_lower=found["ebv"] - away, ebv_upper=found["ebv"] + away)
    traits = network.predict(result, replicate.genotypes)
    found = pd.concat([found[~found["trait"].isin(traits["trait"])], traits])
    return found.set_index(["trait", "individual"])[["ebv_lower", "ebv_upper"]]


def shares(hits: dict[str, list[bool]]) -> str:
    return "  ".join(f"{group} {np.mean(v):.3f} ({len(v)})" for group, v in hits.items() if v)


def main(words: list[str], fits: int, first: int, draws: int) -> None:
    chosen = [c for c in COMBINATIONS if set(words) <= set(c.split())]
    total = {c: defaultdict[str, list[bool]](list) for c in chosen}
    for seed in range(first, first + fits):
        for combination in chosen:
            began, own = time.process_time(), total[combination]
            found, fewest = covered(combination, seed, draws)
            for group, inside in found.items():
                own[group] += inside
            seconds = time.process_time() - began
            print(f"{seed} {combination:<28} {shares(own)}  {fewest:.0f} draws, {seconds:.0f} s")
            sys.stdout.flush()
    for word in dict.fromkeys(
        w for column in zip(*map(str.split, chosen), strict=True) for w in column
    ):
        pooled = defaultdict[str, list[bool]](list)
        for combination in chosen:
            if word in combination.split():
                for group, inside in total[combination].items():
                    pooled[group] += inside
        print(f"all {word:<28} {shares(pooled)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--fits", type=int, default=5)
    parser.add_argument("--first", type=int, default=1, help="seed of the first fit")
    parser.add_argument("--draws", type=int, default=400)
    given = parser.parse_args()
    main(given.words, given.fits, given.first, given.draws)

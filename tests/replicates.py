"""Replicates for simulation-based calibration: truths, data, fits, and ranks of the truths.

Assigning the steps of a fit takes longer than sampling 30 individuals, so that one fit has many
independent replicates: columns of one layer with parameters of their own, each trait connected to
two omics of its own. Of a parameter with several elements one is taken at random in each replicate,
so that ranks are independent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt
from arviz_stats.ecdf_utils import ecdf_pit
from small_models import INTERCEPT, MARKERS, VARIANCE, WEIGHTS

import nnmm_pymc as nn

Tables = dict[str, pd.DataFrame]
INDIVIDUALS, N_MARKERS = 30, 8
RANKS = 100
IDS = [f"i{i}" for i in range(INDIVIDUALS)]
NAMES = [f"m{j}" for j in range(N_MARKERS)]
ACTIVATIONS = {"individuals": "tanh", "partial": "tanh", "hmc": "sigmoid", "sequence": "tanh"}
# A third of the individuals lack all omics in these, a third of the cells in "cells" and "direct".
INCOMPLETE = ("individuals", "hmc", "partial", "function", "sequence")
# Replicates of a fit: traits that share missing omics would not be independent.
COLUMNS = {"plain": 100, "individuals": 15, "partial": 15, "hmc": 15, "function": 8, "sequence": 15}
# Draws of the chain to one that is ranked, and in tuning.
THIN, TUNE = {"plain": 25, "Horseshoe": 60} | dict.fromkeys(INCOMPLETE, 20) | {"hmc": 10}, 500


def dosages(rng: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame(rng.binomial(2, 0.4, (INDIVIDUALS, N_MARKERS)).astype(float), IDS, NAMES)


def missing_cells(kind: str, n_omics: int, rng: np.random.Generator) -> np.ndarray:
    if kind in ("cells", "direct"):
        return rng.random((INDIVIDUALS, n_omics)) < 1 / 3
    if kind in INCOMPLETE:
        return np.repeat(np.arange(INDIVIDUALS)[:, None] < INDIVIDUALS // 3, n_omics, axis=1)
    return np.zeros((INDIVIDUALS, n_omics), bool)


def ratio(z1: Any, z2: Any) -> Any:
    """The function of Zhao et al. (2022), smooth where both are zero."""
    return pt.sqrt((0.1 + z1**2) / (0.1 + z1**2 + z2**2))


def build(prior: str, kind: str, geno: pd.DataFrame, tables: Tables) -> nn.Network:
    common = {"Intercept": INTERCEPT, "residual_variance": VARIANCE}
    genetic = {"geno": MARKERS[prior], **common}
    layers = [nn.Layer("geno", geno), *(nn.Layer(name, t) for name, t in tables.items())]
    if kind == "plain":
        return nn.Network(layers, [nn.Equation("pheno ~ 1 + geno", priors=genetic)])
    omics, traits = tables["omics"], tables["pheno"]
    pairs = [(f"e{2 * r}", f"e{2 * r + 1}") for r in range(traits.shape[1])]
    if kind == "function":
        calls = {y: "ratio({},{})".format(*pair) for y, pair in zip(traits, pairs, strict=True)}
        ends = [
            nn.Equation(f"{y} ~ 1 + {f}", priors={f: WEIGHTS, **common}, functions={"ratio": ratio})
            for y, f in calls.items()
        ]
        return nn.Network(layers, [nn.Equation("omics ~ 1 + geno", priors=genetic), *ends])
    term = f"{ACTIVATIONS[kind]}(omics)" if kind in ACTIVATIONS else "omics"
    priors = {term: WEIGHTS, **common}
    if kind == "sequence":
        own = {"omics": dict(zip(tables["second"], pairs, strict=True))}
        single = {"second": {y: [s] for y, s in zip(traits, tables["second"], strict=True)}}
        return nn.Network(
            layers,
            [
                nn.Equation("omics ~ 1 + geno", priors=genetic),
                nn.Equation(f"second ~ 1 + {term}", priors=priors, connections=own),
                nn.Equation(
                    "pheno ~ 1 + second",
                    priors={"second": WEIGHTS, **common},
                    connections=single,
                ),
            ],
        )
    connections = {"omics": dict(zip(traits, pairs, strict=True))}
    if kind == "direct":
        priors["geno"] = MARKERS[prior]
    few = None
    if kind == "partial":
        few = {e: [NAMES[(k + j) % N_MARKERS] for j in range(3)] for k, e in enumerate(omics)}
    formula = f"pheno ~ 1 + {term}" + (" + geno" if kind == "direct" else "")
    return nn.Network(
        layers,
        [
            nn.Equation("omics ~ 1 + geno", priors=genetic, connections=few),
            nn.Equation(formula, priors=priors, connections=connections),
        ],
    )


class Replicates:
    """Networks of one kind, each with a truth and the data that were drawn from it."""

    def __init__(self, prior: str, kind: str, seed: int):
        self.prior, self.kind = prior, kind
        self.rng = np.random.default_rng(seed)
        self.size = COLUMNS.get(kind, 20)
        self.columns: dict[str, list[str]] = {}
        if kind != "plain":
            self.columns["omics"] = [f"e{k}" for k in range(2 * self.size)]
        if kind == "sequence":
            self.columns["second"] = [f"s{r}" for r in range(self.size)]
        self.columns["pheno"] = [f"y{r}" for r in range(self.size)]

    def fit(self) -> dict[str, list[float]]:
        """Ranks of all parameters, as numbers between 0 and 1, by group of parameters."""
        rng, geno = self.rng, dosages(self.rng)
        missing = {
            layer: missing_cells(self.kind, len(names), rng)
            for layer, names in self.columns.items()
            if layer != "pheno"
        }
        # The layout: values are replaced by draws.
        blank = {layer: rng.normal(size=(INDIVIDUALS, len(c))) for layer, c in self.columns.items()}
        model = build(self.prior, self.kind, geno, self.tables(blank, missing)).model
        names = [v.name for v in [*model.free_RVs, *model.observed_RVs]]
        names += [n for n in missing if n in model.named_vars and n not in names]
        drawn = pm.draw(
            [model[n] for n in names], random_seed=int(rng.integers(2**31)), mode="FAST_COMPILE"
        )
        truth = dict(zip(names, drawn, strict=True))
        if self.kind == "function":
            truth["pheno"] = np.column_stack([np.ravel(truth[y]) for y in self.columns["pheno"]])
        network = build(self.prior, self.kind, geno, self.tables(truth, missing))
        free = [v.name for v in model.free_RVs]
        thin = THIN.get(self.prior, THIN.get(self.kind, 10))
        result = network.fit(
            draws=RANKS * thin,
            tune=TUNE,
            chains=1,
            cores=1,
            random_seed=int(rng.integers(2**31)),
            progressbar=False,
            quiet=True,
            keep=free,
            **({"latent": "hmc"} if self.kind == "hmc" else {}),
        )
        posterior = result["posterior"].dataset
        found: dict[str, list[float]] = {}
        for name in free:
            draws = posterior[name].to_numpy()[0, thin - 1 :: thin]
            for label, own, true in self.quantities(name, draws, truth[name], geno, missing):
                found.setdefault(label, []).append(self.rank(own, true))
        return found

    def tables(self, values: dict[str, np.ndarray], missing: dict[str, np.ndarray]) -> Tables:
        frames = {
            layer: pd.DataFrame(values[layer], IDS, names) for layer, names in self.columns.items()
        }
        return {n: f.mask(missing[n]) if n in missing else f for n, f in frames.items()}

    def quantities(
        self,
        name: str,
        draws: np.ndarray,
        truth: np.ndarray,
        geno: pd.DataFrame,
        missing: dict[str, np.ndarray],
    ) -> Iterator[tuple[str, np.ndarray, float]]:
        """One element of a variable for every replicate, its draws and its true value."""
        layer = next((c for c in self.columns if name.startswith(f"{c}_")), None)
        if layer is None:  # of one trait, whose equation is its own
            label = name.split("_", 1)[1].split("(")[0]
            e = self.rng.integers(truth.size)
            yield f"pheno_{label}", draws.reshape(len(draws), -1)[:, e], truth.ravel()[e]
            return
        columns = self.columns[layer]
        each = len(columns) // self.size
        if name == f"{layer}_missing":
            of = np.nonzero(missing[layer])[1] // each
            for r in range(self.size):
                k = self.rng.choice(np.flatnonzero(of == r))
                yield name, draws[:, k], truth[k]
            return
        axis = next(a for a, length in enumerate(truth.shape) if length == len(columns))
        draws, truth = np.moveaxis(draws, axis + 1, 1), np.moveaxis(truth, axis, 0)
        for r in range(self.size):
            # Two omics of one trait are not independent: one of them.
            k = each * r + self.rng.integers(each)
            own = draws[:, k].reshape(len(draws), -1)
            true = truth[k].ravel()
            e = self.rng.integers(len(true))
            if name in ("pheno_omics", "second_omics"):
                e = 2 * r + self.rng.integers(2)
            if name == "pheno_second":
                e = r
            yield name, own[:, e], true[e]
            if name.endswith("_geno"):
                yield f"{name} included", own[:, e] != 0.0, true[e] != 0.0
                x = geno.to_numpy()[self.rng.integers(INDIVIDUALS)] - geno.to_numpy().mean(axis=0)
                yield f"{name} value", own @ x, true @ x

    def rank(self, draws: np.ndarray, truth: float) -> float:
        """Share of the draws below the truth, ties (effects of zero) broken at random."""
        below, equal = np.sum(draws < truth), np.sum(draws == truth)
        return (below + self.rng.random() * (equal + 1)) / (len(draws) + 1)


def inside_band(ranks: list[float]) -> bool:
    """Whether the empirical distribution stays in the simultaneous 99 % band of a uniform one."""
    _, ecdf, low, high = ecdf_pit(np.array(ranks), 0.99, 4000)
    return bool(np.all((ecdf >= low) & (ecdf <= high)))

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
from small_models import INTERCEPT, JOINT, JOINT_SLAB, MARKERS, VARIANCE, WEIGHTS

import nnmm_pymc as nn

Tables = dict[str, pd.DataFrame]
INDIVIDUALS, N_MARKERS = 30, 8
RANKS = 100
IDS = [f"i{i}" for i in range(INDIVIDUALS)]
NAMES = [f"m{j}" for j in range(N_MARKERS)]
PRIORS = MARKERS | {
    "GBLUP": nn.GBLUP(genetic_variance=nn.Prior("InverseGamma", alpha=4.0, beta=1.5)),
    "MarkerGroups": nn.MarkerGroups(
        {name: "ab"[j > 2] for j, name in enumerate(NAMES)},
        {"a": MARKERS["BayesC"], "b": MARKERS["BayesC"]},
    ),
    "JointRRBLUP": nn.JointRRBLUP(covariance=JOINT_SLAB),
    "JointBayesC": JOINT,
}
# Five founders; every other individual has two of those before it as parents.
PEDIGREE = pd.DataFrame(
    {
        "individual": IDS,
        "sire": [None if i < 5 else f"i{i * 7 % (i // 2)}" for i in range(INDIVIDUALS)],
        "dam": [None if i < 5 else f"i{i // 2 + i * 5 % (i - i // 2)}" for i in range(INDIVIDUALS)],
    }
)
WITHOUT_OMICS = ("plain", "traits", "relatives", "binary")
ACTIVATIONS = {"individuals": "tanh", "partial": "tanh", "hmc": "sigmoid", "sequence": "tanh"}
# A third of the individuals lack all omics in these, a third of the cells in "cells" and "direct".
INCOMPLETE = ("individuals", "hmc", "partial", "function", "sequence")
# Replicates of a fit: traits that share missing omics would not be independent.
COLUMNS = dict.fromkeys(WITHOUT_OMICS, 100) | {"traits": 20, "function": 8}
COLUMNS |= dict.fromkeys(("individuals", "partial", "hmc", "sequence"), 15)
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
    layers = [nn.Layer("geno", geno), *(nn.Layer(name, t) for name, t in tables.items())]
    if "omics" in tables:
        return nn.Network(layers, through_omics(prior, kind, tables))
    if kind == "relatives":
        layers.append(nn.Layer("ped", nn.read_pedigree(PEDIGREE, monoecious=True)))
    return nn.Network(layers, without_omics(prior, kind, list(tables["pheno"])))


def without_omics(prior: str, kind: str, traits: list[str]) -> list[nn.Equation]:
    genetic = {"geno": PRIORS[prior], "Intercept": INTERCEPT}
    own = genetic | {"residual_variance": VARIANCE}
    if kind == "traits":
        correlated = {"residual_covariance": nn.HalfTCovariance(scale=[0.7, 1.0], df=4.0)}
        return [
            nn.Equation(
                f"{first} + {second} ~ 1 + geno",
                priors=genetic | correlated,
                residual="correlated",
            )
            for first, second in zip(traits[::2], traits[1::2], strict=True)
        ]
    if kind == "relatives":
        additive = {"ped": nn.Prior("InverseGamma", alpha=4.0, beta=1.5)}
        return [nn.Equation("pheno ~ 1 + geno + ped", priors=own | additive)]
    if kind == "binary":
        return [nn.Equation("pheno ~ 1 + geno", priors=genetic, family="bernoulli")]
    return [nn.Equation("pheno ~ 1 + geno", priors=own)]


def through_omics(prior: str, kind: str, tables: Tables) -> list[nn.Equation]:
    common = {"Intercept": INTERCEPT, "residual_variance": VARIANCE}
    genetic = {"geno": PRIORS[prior], **common}
    omics, traits = tables["omics"], tables["pheno"]
    pairs = [(f"e{2 * r}", f"e{2 * r + 1}") for r in range(traits.shape[1])]
    if kind == "function":
        calls = {y: "ratio({},{})".format(*pair) for y, pair in zip(traits, pairs, strict=True)}
        ends = [
            nn.Equation(f"{y} ~ 1 + {f}", priors={f: WEIGHTS, **common}, functions={"ratio": ratio})
            for y, f in calls.items()
        ]
        return [nn.Equation("omics ~ 1 + geno", priors=genetic), *ends]
    term = f"{ACTIVATIONS[kind]}(omics)" if kind in ACTIVATIONS else "omics"
    priors = {term: WEIGHTS, **common}
    if kind == "sequence":
        own = {"omics": dict(zip(tables["second"], pairs, strict=True))}
        single = {"second": {y: [s] for y, s in zip(traits, tables["second"], strict=True)}}
        last = {"second": WEIGHTS, **common}
        return [
            nn.Equation("omics ~ 1 + geno", priors=genetic),
            nn.Equation(f"second ~ 1 + {term}", priors=priors, connections=own),
            nn.Equation("pheno ~ 1 + second", priors=last, connections=single),
        ]
    connections = {"omics": dict(zip(traits, pairs, strict=True))}
    if kind == "direct":
        priors["geno"] = PRIORS[prior]
    few = None
    if kind == "partial":
        few = {e: [NAMES[(k + j) % N_MARKERS] for j in range(3)] for k, e in enumerate(omics)}
    formula = f"pheno ~ 1 + {term}" + (" + geno" if kind == "direct" else "")
    return [
        nn.Equation("omics ~ 1 + geno", priors=genetic, connections=few),
        nn.Equation(formula, priors=priors, connections=connections),
    ]


class Replicates:
    """Networks of one kind, each with a truth and the data that were drawn from it."""

    def __init__(self, prior: str, kind: str, seed: int):
        self.prior, self.kind = prior, kind
        self.rng = np.random.default_rng(seed)
        self.size = COLUMNS.get(kind, 20)
        self.columns: dict[str, list[str]] = {}
        if kind not in WITHOUT_OMICS:
            self.columns["omics"] = [f"e{k}" for k in range(2 * self.size)]
        if kind == "sequence":
            self.columns["second"] = [f"s{r}" for r in range(self.size)]
        traits = 2 * self.size if kind == "traits" else self.size
        self.columns["pheno"] = [f"y{r}" for r in range(traits)]

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
        if self.kind == "binary":
            blank["pheno"] = (blank["pheno"] > 0.0).astype(float)
        model = build(self.prior, self.kind, geno, self.tables(blank, missing)).model
        names = [v.name for v in [*model.free_RVs, *model.observed_RVs, *model.deterministics]]
        names += [n for n in missing if n in model.named_vars and n not in names]
        truth = self.truth(model, names)
        network = build(self.prior, self.kind, geno, self.tables(truth, missing))
        ranked = [v.name for v in model.free_RVs]
        if self.prior == "GBLUP":  # whose effects are of eigenvectors
            ranked = [f"{n}_value" if n.endswith("_geno") else n for n in ranked]
        thin = THIN.get(self.prior, THIN.get(self.kind, 10))
        result = network.fit(
            draws=RANKS * thin,
            tune=TUNE,
            chains=1,
            cores=1,
            random_seed=int(rng.integers(2**31)),
            progressbar=False,
            quiet=True,
            keep=ranked,
            **({"latent": "hmc"} if self.kind == "hmc" else {}),
        )
        posterior = result["posterior"].dataset
        found: dict[str, list[float]] = {}
        for name in ranked:
            draws = posterior[name].to_numpy()[0, thin - 1 :: thin]
            for label, own, true in self.quantities(name, draws, truth[name], geno, missing):
                found.setdefault(label, []).append(self.rank(own, true))
        return found

    def truth(self, model: pm.Model, names: list[str]) -> dict[str, np.ndarray]:
        """Values from the prior; again where a trait does not vary, which `Network` refuses.

        What is chosen by the data alone leaves the ranks uniform.
        """
        seed = int(self.rng.integers(2**31))
        drawn = pm.draw([model[n] for n in names], random_seed=seed, mode="FAST_COMPILE")
        truth = dict(zip(names, drawn, strict=True))
        if self.kind == "binary":
            truth["pheno"] = truth["pheno_observed"].reshape(INDIVIDUALS, -1)
        elif "pheno" not in truth:
            ends = [n for n in names if set(n.split("+")) <= set(self.columns["pheno"])]
            truth["pheno"] = np.column_stack([truth[n] for n in ends])
        varies = np.ptp(truth["pheno"], axis=0) > 0.0
        return truth if varies.all() else self.truth(model, names)

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
        if layer is None:  # of an equation of its own
            label = "pheno_" + name.split("_", 1)[1].split("(")[0]
            e = self.rng.integers(truth.size)
            own, true = draws.reshape(len(draws), -1)[:, e], truth.ravel()[e]
            yield label, own, true
            if name.endswith("_geno"):
                yield f"{label} included", own != 0.0, true != 0.0
            return
        columns = self.columns[layer]
        each = len(columns) // self.size
        if name == f"{layer}_missing":
            of = np.nonzero(missing[layer])[1] // each
            for r in range(self.size):
                k = self.rng.choice(np.flatnonzero(of == r))
                yield name, draws[:, k], truth[k]
            return
        if name == f"{layer}_liability":
            truth = truth.reshape(INDIVIDUALS, -1)
            draws = draws.reshape(len(draws), *truth.shape)
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

"""Replicates for simulation-based calibration: truths, data, fits, and ranks of the truths.

Assigning the steps of a fit takes longer than sampling 30 individuals, so that one fit has many
independent replicates: columns of one layer with parameters of their own, each trait connected to
two omics of its own. Of a parameter with several elements one is taken at random in each replicate,
so that ranks are independent.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pymc as pm
from arviz_stats.ecdf_utils import ecdf_pit
from small_models import INTERCEPT, MARKERS, VARIANCE, WEIGHTS

import nnmm_pymc as nn

INDIVIDUALS, N_MARKERS = 30, 8
RANKS = 100
IDS = [f"i{i}" for i in range(INDIVIDUALS)]
NAMES = [f"m{j}" for j in range(N_MARKERS)]
ACTIVATIONS = {"individuals": "tanh", "partial": "tanh", "hmc": "sigmoid"}
# Replicates of a fit: traits that share missing omics would not be independent.
COLUMNS = {"plain": 100, "individuals": 15, "partial": 15, "hmc": 15}
# Draws of the chain to one that is ranked, and in tuning.
THIN, TUNE = {"plain": 25, "Horseshoe": 60, "individuals": 20, "partial": 20}, 500


def dosages(rng: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame(rng.binomial(2, 0.4, (INDIVIDUALS, N_MARKERS)).astype(float), IDS, NAMES)


def missing_cells(kind: str, n_omics: int, rng: np.random.Generator) -> np.ndarray:
    if kind in ("cells", "direct"):
        return rng.random((INDIVIDUALS, n_omics)) < 1 / 3
    if kind in ("individuals", "hmc", "partial"):
        return np.repeat(np.arange(INDIVIDUALS)[:, None] < INDIVIDUALS // 3, n_omics, axis=1)
    return np.zeros((INDIVIDUALS, n_omics), bool)


def build(
    prior: str, kind: str, geno: pd.DataFrame, omics: pd.DataFrame, traits: pd.DataFrame
) -> nn.Network:
    common = {"Intercept": INTERCEPT, "residual_variance": VARIANCE}
    genetic = {"geno": MARKERS[prior], **common}
    layers = [nn.Layer("geno", geno)]
    if kind == "plain":
        layers.append(nn.Layer("pheno", traits))
        return nn.Network(layers, [nn.Equation("pheno ~ 1 + geno", priors=genetic)])
    term = f"{ACTIVATIONS[kind]}(omics)" if kind in ACTIVATIONS else "omics"
    own = {y: [f"e{2 * r}", f"e{2 * r + 1}"] for r, y in enumerate(traits)}
    priors, connections = {term: WEIGHTS, **common}, {"omics": own}
    if kind == "direct":
        priors["geno"] = MARKERS[prior]
    few = None
    if kind == "partial":
        few = {e: [NAMES[(k + j) % N_MARKERS] for j in range(3)] for k, e in enumerate(omics)}
    formula = f"pheno ~ 1 + {term}" + (" + geno" if kind == "direct" else "")
    return nn.Network(
        [*layers, nn.Layer("omics", omics), nn.Layer("pheno", traits)],
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
        self.traits = [f"y{r}" for r in range(self.size)]
        self.omics = [] if kind == "plain" else [f"e{k}" for k in range(2 * self.size)]

    def fit(self) -> dict[str, list[float]]:
        """Ranks of all parameters, as numbers between 0 and 1, by group of parameters."""
        rng, geno = self.rng, dosages(self.rng)
        missing = missing_cells(self.kind, len(self.omics), rng)
        # The layout: values are replaced by draws.
        blank = [rng.normal(size=(INDIVIDUALS, len(c))) for c in (self.omics, self.traits)]
        frames = [
            pd.DataFrame(b, IDS, c) for b, c in zip(blank, (self.omics, self.traits), strict=True)
        ]
        model = build(self.prior, self.kind, geno, frames[0].mask(missing), frames[1]).model
        names = [v.name for v in [*model.free_RVs, *model.observed_RVs]]
        names += [n for n in ("omics",) if n in model.named_vars and n not in names]
        drawn = pm.draw(
            [model[n] for n in names], random_seed=int(rng.integers(2**31)), mode="FAST_COMPILE"
        )
        truth = dict(zip(names, drawn, strict=True))
        omics = frames[0] if self.kind == "plain" else pd.DataFrame(truth["omics"], IDS, self.omics)
        traits = pd.DataFrame(truth["pheno"], IDS, self.traits)
        network = build(self.prior, self.kind, geno, omics.mask(missing), traits)
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

    def quantities(
        self,
        name: str,
        draws: np.ndarray,
        truth: np.ndarray,
        geno: pd.DataFrame,
        missing: np.ndarray,
    ) -> Iterator[tuple[str, np.ndarray, float]]:
        """One element of a variable for every replicate, its draws and its true value."""
        if name == "omics_missing":
            of = np.nonzero(missing)[1] // 2
            for r in range(self.size):
                k = self.rng.choice(np.flatnonzero(of == r))
                yield name, draws[:, k], truth[k]
            return
        columns = self.traits if name.startswith("pheno") else self.omics
        axis = next(a for a, length in enumerate(truth.shape) if length == len(columns))
        draws, truth = np.moveaxis(draws, axis + 1, 1), np.moveaxis(truth, axis, 0)
        for r in range(self.size):
            # Two omics of one trait are not independent: one of them.
            k = r if columns is self.traits else 2 * r + self.rng.integers(2)
            own = draws[:, k].reshape(len(draws), -1)
            true = truth[k].ravel()
            e = self.rng.integers(len(true))
            if name == "pheno_omics":
                e = 2 * r + self.rng.integers(2)
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

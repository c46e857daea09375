"""Networks against simulated truth: mediation, non-linearity, latent layers (issue of any network).

    python benchmarks/networks.py equivalence
    python benchmarks/networks.py nonlinear 10
    python benchmarks/networks.py split 10
    python benchmarks/networks.py units
    python benchmarks/networks.py part1 1 [draws]

equivalence: a network with an all-missing identity layer against the traditional model, same EBV.
nonlinear: sigmoid truth, h2 0.34, 20 omics, half of the individuals without omics: correlation of
the EBV with the true breeding value, sigmoid network against linear (wanted: 0.07 more; published
0.473 against 0.376). The omics lie below the middle of the sigmoid (mean -5, sd 5): around 0 with
sd 1 it is so straight that the best linear network has a correlation of 0.996 with the truth.
split: 20 % direct and 80 % mediated genetic variance: estimated shares (wanted: within 0.05), and
the leave-one-out comparison with the network without the direct edge.
units: the same omics measured on a scale 1,000 times larger and smaller: largest difference of a
breeding value over its posterior sd, beside that of another seed (wanted: no more).
part1: the design of Part 1 of Zhao et al. (2022, Genetics, iyac034) re-simulated: 1,055 individuals
of 11 generations, 1,200 omics of heritability 0.61, GBLUP on each, heritability of the trait 0.34,
all of it through the omics; none, 50 % and 95 % of those with a phenotype lack omics. Accuracy of
the breeding values of the last generation, which has genotypes only (wanted: falls from complete
data by no more than 0.02 and 0.09; published 0.535, 0.527, 0.453).
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pandas as pd
from scipy.special import expit

import nnmm_pymc as nn
from nnmm_pymc.simulation.pedigree import simulate_pedigree, simulate_pedigree_genotypes

STEEPNESS, THRESHOLD = 5.0, 1.0
OPTIONS = {"chains": 2, "progressbar": False, "quiet": True}


def layers(data: nn.Simulation, **changed: object) -> list[nn.Layer]:
    given = {"geno": data.genotypes, "omics": data.omics, "pheno": data.phenotypes} | changed
    return [nn.Layer(name, values) for name, values in given.items()]


def ebv(result: object) -> pd.Series:
    table = nn.breeding_values(result)
    return table[table["trait"] == "y"].set_index("individual")["ebv"]


def equivalence() -> None:
    data = nn.simulate(500, 300, 3, activation="identity", random_seed=1)
    plain = nn.Network(
        [nn.Layer("geno", data.genotypes), nn.Layer("pheno", data.phenotypes)], ["y ~ 1 + geno"]
    ).fit(draws=8000, tune=1000, random_seed=1, **OPTIONS)
    hidden = nn.Network(
        [
            nn.Layer("geno", data.genotypes),
            nn.Layer("hidden", nn.latent(1)),
            nn.Layer("pheno", data.phenotypes),
        ],
        ["hidden ~ 1 + geno", "y ~ 1 + hidden"],
    ).fit(draws=8000, tune=2000, random_seed=1, **OPTIONS)
    print(nn.diagnose(hidden))
    print(f"correlation of the EBV: {np.corrcoef(ebv(plain), ebv(hidden))[0, 1]:.5f}")


def nonlinear(n_simulations: int) -> None:
    rows = []
    for seed in range(n_simulations):
        data = nn.simulate(
            1055,
            1000,
            20,
            activation=lambda z: expit(STEEPNESS * (z - THRESHOLD)),
            omic_h2=0.68,
            network_r2=0.59,
            missing="individuals",
            missing_fraction=0.5,
            random_seed=seed,
        )
        truth = data.breeding_values["y"]
        given = layers(data, omics=STEEPNESS * (data.omics - THRESHOLD))
        row = {"seed": seed, "h2": truth.var() / data.phenotypes["y"].var()}
        for activation in ("sigmoid", "identity"):
            network = nn.Network(
                given,
                [
                    nn.Equation("omics ~ 1 + geno", priors={"geno": nn.BayesC()}),
                    f"y ~ 1 + {activation}(omics)",
                ],
            )
            found = ebv(network.fit(draws=600, tune=400, random_seed=seed, **OPTIONS))
            row[activation] = np.corrcoef(found, truth[found.index])[0, 1]
        rows.append(row)
        print(row, flush=True)
    print(pd.DataFrame(rows).mean())


def split(n_simulations: int) -> None:
    rows = []
    for seed in range(n_simulations):
        data = nn.simulate(
            1500, 500, 5, network_r2=0.6, omic_h2=0.67, direct_r2=0.1, random_seed=seed
        )
        fits = {}
        for label, direct in (("direct", " + geno"), ("indirect", "")):
            network = nn.Network(layers(data), ["omics ~ 1 + geno", f"y ~ 1 + tanh(omics){direct}"])
            fits[label] = network, network.fit(draws=800, tune=300, random_seed=seed, **OPTIONS)
        result = fits["direct"][1]
        compared = nn.compare_networks(
            {label: nn.phenotype_log_likelihood(*fit) for label, fit in fits.items()}
        )
        table = nn.mediated_heritability(result, data.genotypes)
        table = table[(table["trait"] == "y") & table["layer"].isin(["", "all", "omics"])]
        rows.append(table.set_index("part")["share"].groupby(level=0).first())
        worse = compared.loc["indirect"]
        rows[-1]["elpd without the direct edge"] = -worse["elpd_diff"]
        rows[-1]["its standard error"] = worse["dse"]
        print(seed, rows[-1].round(3).to_dict(), flush=True)
    print(pd.DataFrame(rows).mean())


def units() -> None:
    data = nn.simulate(400, 300, 5, missing="cells", missing_fraction=0.3, random_seed=1)
    for term in ("tanh(scale(omics))", "omics"):
        fits = {}
        for label, factor, seed in (
            ("first", 1.0, 1),
            ("other seed", 1.0, 2),
            ("x 1000", 1e3, 1),
            ("/ 1000", 1e-3, 1),
        ):
            network = nn.Network(
                layers(data, omics=data.omics * factor), ["omics ~ 1 + geno", f"y ~ 1 + {term}"]
            )
            table = nn.breeding_values(network.fit(draws=1500, random_seed=seed, **OPTIONS))
            fits[label] = table[table["trait"] == "y"].set_index("individual")
            first, own = fits["first"], fits[label]
            gap = (own["ebv"] - first["ebv"]).abs() / first["sd"]
            print(
                f"{term} {label}: difference over sd at most {gap.max():.4f}, correlation "
                f"{np.corrcoef(own['ebv'], first['ebv'])[0, 1]:.6f}",
                flush=True,
            )


def part1_data(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series, pd.Series, np.ndarray]:
    """Dosages, omics, phenotype, true breeding value, and whether of the last generation."""
    rng = np.random.default_rng(seed)
    pedigree = simulate_pedigree(1055, rng, generations=10, n_sires=15, n_dams=40)
    dosages = simulate_pedigree_genotypes(pedigree, 2000, rng).genotypes
    ids, last = list(pedigree["individual"]), (pedigree["generation"] == 10).to_numpy()
    effects = np.zeros((2000, 1200))
    for own in effects.T:
        own[rng.choice(2000, 50, replace=False)] = rng.normal(size=50)
    genetic = (dosages - dosages.mean(axis=0)) @ effects
    genetic *= np.sqrt(0.61) / genetic.std(axis=0)
    omics = genetic + np.sqrt(0.39) * rng.normal(size=genetic.shape)
    weights = rng.normal(size=1200)
    weights *= np.sqrt(0.34) / (genetic @ weights).std()
    mediated = omics @ weights
    y = mediated + np.sqrt(1.0 - mediated.var()) * rng.normal(size=len(ids))
    markers = [f"snp{j}" for j in range(2000)]
    return (
        pd.DataFrame(dosages, ids, markers),
        pd.DataFrame(omics, ids, [f"omic{k}" for k in range(1200)]),
        pd.Series(y, ids, name="y"),
        pd.Series(genetic @ weights, ids),
        last,
    )


def part1(n_simulations: int, draws: int = 300) -> None:
    for seed in range(1, n_simulations + 1):
        dosages, omics, y, truth, last = part1_data(seed)
        order = np.random.default_rng(seed).permutation(np.flatnonzero(~last))
        for share in (0.0, 0.5, 0.95):
            began = time.process_time()
            seen = omics[~last].copy()
            seen.loc[omics.index[order[: round(share * len(order))]]] = np.nan
            network = nn.Network(
                [
                    nn.Layer("geno", dosages),
                    nn.Layer("omics", seen),
                    nn.Layer("pheno", y[~last].to_frame()),
                ],
                [
                    nn.Equation("omics ~ 1 + geno", priors={"geno": nn.GBLUP()}),
                    nn.Equation("y ~ 1 + omics", priors={"omics": nn.RRBLUP()}),
                ],
            )
            result = network.fit(draws=draws, tune=draws // 2, random_seed=seed, **OPTIONS)
            found = ebv(result)[dosages.index[last]]
            accuracy = np.corrcoef(found, truth[found.index])[0, 1]
            print(
                f"{seed}: {share:.0%} without omics, accuracy {accuracy:.4f}, "
                f"{time.process_time() - began:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    checks = {
        "equivalence": equivalence,
        "nonlinear": nonlinear,
        "split": split,
        "units": units,
        "part1": part1,
    }
    checks[kind](*map(int, rest))

"""Networks against simulated truth: mediation, non-linearity, latent layers (issue of any network).

    python benchmarks/networks.py equivalence
    python benchmarks/networks.py nonlinear 10
    python benchmarks/networks.py split 10

equivalence: a network with an all-missing identity layer against the traditional model, same EBV.
nonlinear: sigmoid truth, h2 0.34, 20 omics, half of the individuals without omics: correlation of
the EBV with the true breeding value, sigmoid network against linear (wanted: 0.07 more; published
0.473 against 0.376). The omics lie below the middle of the sigmoid (mean -5, sd 5): around 0 with
sd 1 it is so straight that the best linear network has a correlation of 0.996 with the truth.
split: 20 % direct and 80 % mediated genetic variance: estimated shares (wanted: within 0.05), and
the leave-one-out comparison with the network without the direct edge.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from scipy.special import expit

import nnmm_pymc as nn

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
            found = ebv(network.fit(draws=1500, tune=700, random_seed=seed, **OPTIONS))
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
            fits[label] = network, network.fit(draws=1500, tune=500, random_seed=seed, **OPTIONS)
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


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    {"equivalence": equivalence, "nonlinear": nonlinear, "split": split}[kind](*map(int, rest))

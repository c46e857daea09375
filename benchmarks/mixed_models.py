"""Mixed models against what is known of them: equations, intervals, accuracy, time.

    python benchmarks/mixed_models.py henderson
    python benchmarks/mixed_models.py coverage animal 50
    python benchmarks/mixed_models.py coverage repeatability 50
    python benchmarks/mixed_models.py single_step 3
    python benchmarks/mixed_models.py large
    python benchmarks/mixed_models.py large repeatability
    python benchmarks/mixed_models.py network 20 [first seed]

henderson: 1,000 animals, pedigree and herds at fixed variances: z scores of the posterior means
against Henderson's equations solved densely (wanted: within 4, mean square about 1).
coverage: 90 % intervals of the variances of simulated data, one record of each animal or one to
five (wanted: 0.82 to 0.97 of them cover, mean bias of the posterior means below 5 %).
single_step: 3,000 animals of which 1,000 are genotyped: accuracy of breeding values by pedigree,
single-step, and of the genotyped alone (wanted: ungenotyped above pedigree, genotyped not below).
large: 100,000 animals: CPU time of an iteration (wanted: below a second).
network: three omics, tanh, pedigree, herds and litters in both equations, 30 % of cells missing:
share of weights, variances, and breeding values of 20 animals that 90 % intervals cover.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import arviz as az
import numpy as np
import pandas as pd

import nnmm_pymc as nn
from nnmm_pymc.simulation.pedigree import simulate_pedigree, simulate_pedigree_genotypes

OPTIONS: dict[str, Any] = {"chains": 2, "cores": 1, "progressbar": False, "quiet": True}
VARIANCES = {"ped": 0.4, "1|herd": 0.2, "residual": 0.4}
REPEATED = VARIANCES | {"1|cow": 0.2}


def pedigree_of(n: int, rng: np.random.Generator) -> nn.Pedigree:
    rows = simulate_pedigree(n, rng, generations=5, n_sires=n // 40, n_dams=n // 15, unknown=0.01)
    return nn.read_pedigree(rows)


def records_of(pedigree: nn.Pedigree, rng: np.random.Generator, n_herds: int) -> pd.DataFrame:
    """One record of each animal: additive, herd and residual variances as in VARIANCES."""
    herd = rng.integers(0, n_herds, pedigree.n)
    y = pedigree.draw(rng, variance=VARIANCES["ped"])
    y = y + np.sqrt(VARIANCES["1|herd"]) * rng.normal(size=n_herds)[herd]
    y += 10 + np.sqrt(VARIANCES["residual"]) * rng.normal(size=pedigree.n)
    return pd.DataFrame({"y": y, "herd": [f"h{h}" for h in herd]}, pedigree.individuals)


def repeated_of(pedigree: nn.Pedigree, rng: np.random.Generator, n_herds: int) -> pd.DataFrame:
    """One to five records of each animal, variances as in REPEATED; herds are of records."""
    owner = np.repeat(np.arange(pedigree.n), rng.integers(1, 6, pedigree.n))
    herd = rng.integers(0, n_herds, len(owner))
    animal = pedigree.draw(rng, variance=REPEATED["ped"])
    animal = animal + np.sqrt(REPEATED["1|cow"]) * rng.normal(size=pedigree.n)
    y = 10 + animal[owner] + np.sqrt(REPEATED["1|herd"]) * rng.normal(size=n_herds)[herd]
    y += np.sqrt(REPEATED["residual"]) * rng.normal(size=len(owner))
    names = pedigree.individuals[owner]
    return pd.DataFrame({"cow": names, "y": y, "herd": [f"h{h}" for h in herd]})


def network_of(
    pedigree: Any, records: pd.DataFrame, equation: Any, individual: str | None = None
) -> nn.Network:
    layers = [nn.Layer("ped", pedigree), nn.Layer("pheno", records, individual=individual)]
    return nn.Network(layers, equation)


def henderson() -> None:
    rng = np.random.default_rng(1)
    pedigree = pedigree_of(1000, rng)
    records = records_of(pedigree, rng, 40).iloc[200:]
    priors: dict[str, Any] = {term: v for term, v in VARIANCES.items() if term != "residual"}
    priors |= {"residual_variance": VARIANCES["residual"], "Intercept": nn.Prior("Flat")}
    equation = nn.Equation("y ~ 1 + (1|herd) + ped", priors=priors)
    own = network_of(pedigree, records, equation)
    result = own.fit(draws=5000, tune=200, random_seed=1, **OPTIONS)
    herds = sorted(records["herd"].unique())
    rows = np.arange(len(records))
    design = np.zeros((len(records), 1 + len(herds) + pedigree.n))
    design[:, 0] = 1.0
    design[rows, 1 + pd.Index(herds).get_indexer(records["herd"])] = 1.0
    design[rows, 1 + len(herds) + pedigree.positions(records.index)] = 1.0
    left = design.T @ design / VARIANCES["residual"]
    middle = slice(1, 1 + len(herds))
    left[middle, middle] += np.eye(len(herds)) / VARIANCES["1|herd"]
    left[1 + len(herds) :, 1 + len(herds) :] += pedigree.inverse().matrix / VARIANCES["ped"]
    wanted = np.linalg.solve(left, design.T @ records["y"] / VARIANCES["residual"])
    posterior = result["posterior"].dataset
    draws = [posterior[n].to_numpy().reshape(2, 5000, -1) for n in ("y_Intercept", "y_1|herd")]
    draws.append(posterior["y_ped"].to_numpy().reshape(2, 5000, -1))
    joined = np.concatenate(draws, axis=2)
    # Monte Carlo errors from means of 50 draws at a time.
    batches = joined.reshape(2, 100, 50, -1).mean(axis=2).reshape(200, -1)
    z = (batches.mean(axis=0) - wanted) / (batches.std(axis=0, ddof=1) / np.sqrt(200))
    print(f"{len(z)} solutions: largest |z| {np.abs(z).max():.2f}, mean z^2 {np.mean(z**2):.2f}")


def coverage(model: str, repeats: int) -> None:
    repeated = model == "repeatability"
    truth = REPEATED if repeated else VARIANCES
    rows = []
    for seed in range(repeats):
        start = time.process_time()
        rng = np.random.default_rng(seed)
        if repeated:
            pedigree = pedigree_of(800, rng)
            records = repeated_of(pedigree, rng, 150)
            own = network_of(pedigree, records, "y ~ 1 + (1|herd) + (1|cow) + ped", "cow")
        else:
            pedigree = pedigree_of(1200, rng)
            own = network_of(pedigree, records_of(pedigree, rng, 150), "y ~ 1 + (1|herd) + ped")
        result = own.fit(draws=1000, tune=300, random_seed=seed, **OPTIONS)
        table = nn.variance_components(result).set_index("component")
        variances = [name for name in result["posterior"].dataset if name.endswith("_variance")]
        seen = result["posterior"].dataset[variances]
        effective = min(float(v.min()) for v in az.ess(seen).values())
        r_hat = max(float(v.max()) for v in az.rhat(seen).values())
        for component, value in truth.items():
            row = table.loc[component]
            rows.append((component, row["lower"] <= value <= row["upper"], row["mean"] / value - 1))
        print(
            f"{seed} {table['mean'].round(3).to_dict()}, effective draws of the variances from "
            f"{effective:.0f}, R-hat to {r_hat:.3f}, CPU {time.process_time() - start:.0f} s",
            flush=True,
        )
    found = pd.DataFrame(rows, columns=["component", "covered", "bias"]).groupby("component")
    print(found.agg({"covered": "mean", "bias": ["mean", "sem"]}).round(3))


def single_step(repeats: int) -> None:
    rows = []
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        simulated = simulate_pedigree(3000, rng, generations=5, n_sires=30, n_dams=150)
        pedigree = nn.read_pedigree(simulated)
        dosages = simulate_pedigree_genotypes(simulated, 2000, rng, n_chromosomes=10).genotypes
        causal = rng.choice(2000, 200, replace=False)
        true = (dosages[:, causal] - dosages[:, causal].mean(axis=0)) @ rng.normal(size=200)
        true = true / true.std() * np.sqrt(0.4)
        y = pd.DataFrame({"y": true + rng.normal(0, np.sqrt(0.6), 3000)}, simulated["individual"])
        late = np.flatnonzero(simulated["generation"] >= 3)
        genotyped = np.sort(rng.choice(late, 1000, replace=False))
        markers = np.setdiff1d(np.arange(2000), causal)
        panel = pd.DataFrame(
            dosages[np.ix_(genotyped, markers)],
            simulated["individual"].iloc[genotyped],
            [f"snp{j}" for j in markers],
        )
        recorded = y[rng.random(3000) < 0.7]
        genotypes = nn.read_genotypes(panel)
        h = nn.single_step(pedigree, genotypes)
        fits = {
            "pedigree": network_of(pedigree, recorded, "y ~ 1 + ped"),
            "single-step": network_of(h, recorded, "y ~ 1 + ped"),
            "genotyped only": nn.Network(
                [nn.Layer("geno", genotypes), nn.Layer("pheno", recorded)], "y ~ 1 + geno"
            ),
        }
        value = pd.Series(true, simulated["individual"])
        groups = {"genotyped": panel.index, "ungenotyped": value.index.difference(panel.index)}
        for label, own in fits.items():
            result = own.fit(draws=400, tune=100, random_seed=seed, **OPTIONS)
            ebv = nn.breeding_values(result).set_index("individual")["ebv"]
            for group, names in groups.items():
                for which, inside in (("all", True), ("without record", False)):
                    chosen = names.intersection(ebv.index)
                    chosen = chosen if inside else chosen.difference(recorded.index)
                    if len(chosen):
                        accuracy = np.corrcoef(ebv[chosen], value[chosen])[0, 1]
                        rows.append((seed, group, which, label, accuracy))
        table = pd.DataFrame(rows, columns=["seed", "group", "who", "model", "accuracy"])
        print(table.groupby(["group", "who", "model"])["accuracy"].mean().round(3), flush=True)


def large(repeated: bool, n: int = 100_000) -> None:
    rng = np.random.default_rng(1)
    rows = simulate_pedigree(n, rng, generations=10, n_sires=100, n_dams=2000, unknown=0.01)
    pedigree = nn.read_pedigree(rows)
    if repeated:
        # About as many records, of a third of the animals.
        recorded = rng.permutation(pedigree.n)[: 3 * n // 10]
        table = repeated_of(pedigree, rng, 500)
        records = table[table["cow"].isin(pedigree.individuals[recorded])]
        own = network_of(pedigree, records, "y ~ 1 + (1|herd) + (1|cow) + ped", "cow")
    else:
        records = records_of(pedigree, rng, 500).iloc[n // 10 :]
        own = network_of(pedigree, records, "y ~ 1 + (1|herd) + ped")
    start = time.process_time()
    model = own.model
    conditional = nn.steps.ConditionalModel(model)
    plan = nn.assign_steps(model, conditional=conditional)
    point = conditional.check_points[0]
    plan.compound.setup_chain(rng, 0, 0)
    point, _ = plan.compound.step(point)
    print(f"{n} animals, {len(records)} records; {time.process_time() - start:.1f} s to build")
    times = []
    for _ in range(30):
        start = time.process_time()
        point, _ = plan.compound.step(point)
        times.append(time.process_time() - start)
    variances = {k: float(np.exp(v[0])) for k, v in point.items() if k.endswith("_log__")}
    print(f"CPU of an iteration: median {np.median(times):.3f} s, largest {max(times):.3f} s")
    print(f"after 31 iterations: {variances}")


def network(repeats: int, first: int = 0) -> None:
    terms = {"ped": 0.5, "1|herd": 0.25, "1|litter": 0.16, "residual": 0.5}
    right = "1 + (1|herd) + (1|litter) + ped"
    weights = np.array([1.5, -1.0, 0.5])
    covered: dict[str, list[bool]] = {}
    ratios: dict[str, list[float]] = {}
    for seed in range(first, first + repeats):
        rng = np.random.default_rng(seed)
        pedigree = pedigree_of(600, rng)
        n = pedigree.n
        herd, litter = rng.integers(0, 30, n), rng.integers(0, 150, n)

        def drawn(k: int, size: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
            """Breeding values, and with them what is drawn for herds, litters and residuals."""
            sd = {term: np.sqrt(size * v) for term, v in terms.items()}
            own = pedigree.draw(rng, k, variance=size * terms["ped"])  # noqa: B023
            return own, (
                own
                + sd["1|herd"] * rng.normal(size=(30, k))[herd]  # noqa: B023
                + sd["1|litter"] * rng.normal(size=(150, k))[litter]  # noqa: B023
                + sd["residual"] * rng.normal(size=(n, k))  # noqa: B023
            )

        genetic, omics = drawn(3)
        direct, rest = drawn(1, 0.5)
        y = 1.0 + np.tanh(omics) @ weights + rest[:, 0]
        # A trait's breeding value is its mean over all of the omics that is not genetic.
        at, mass = np.polynomial.hermite_e.hermegauss(40)
        around = np.sqrt(sum(terms.values()) - terms["ped"]) * at
        bent = np.tanh(genetic[:, :, None] + around) @ (mass / mass.sum())
        truth = {"y": 1.0 + bent @ weights + direct[:, 0]}
        truth |= {f"o{k + 1}": own for k, own in enumerate(genetic.T)}
        omics[rng.random(omics.shape) < 0.3] = np.nan
        names = pedigree.individuals
        groups = {"herd": [f"h{k}" for k in herd], "litter": [f"l{k}" for k in litter]}
        own = nn.Network(
            [
                nn.Layer("ped", pedigree),
                nn.Layer("omics", pd.DataFrame(omics, names, ["o1", "o2", "o3"])),
                nn.Layer("pheno", pd.DataFrame({"y": y} | groups, names)),
            ],
            [f"omics ~ {right}", f"y ~ {right} + tanh(omics)"],
        )
        result = own.fit(draws=1500, tune=500, random_seed=seed, **OPTIONS)
        found = nn.weights(result)
        inside = (found["lower"] <= weights) & (weights <= found["upper"])
        covered.setdefault("weights", []).extend(inside)
        table = nn.variance_components(result)
        for row in table.itertuples():
            true = terms[row.component] * (0.5 if row.trait == "y" else 1.0)
            key = f"{'y' if row.trait == 'y' else 'omics'} {row.component}"
            covered.setdefault(key, []).append(row.lower <= true <= row.upper)
            ratios.setdefault(key, []).append(row.mean / true)
        values = nn.breeding_values(result).set_index("trait")
        shown = rng.choice(n, 20, replace=False)
        for trait, true_values in truth.items():
            own_values = values.loc[trait].set_index("individual").loc[names[shown]]
            away = np.abs(own_values["ebv"].to_numpy() - true_values[shown])
            inside = away <= 1.645 * own_values["sd"].to_numpy()
            covered.setdefault("breeding values", []).extend(inside)
        print(seed, {k: round(float(np.mean(v)), 2) for k, v in covered.items()}, flush=True)
    print({k: len(v) for k, v in covered.items()})
    table = pd.DataFrame({k: [np.mean(v), np.std(v, ddof=1)] for k, v in ratios.items()}).T
    print("posterior mean over truth:", table.set_axis(["mean", "sd"], axis=1).round(3), sep="\n")


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "henderson":
        henderson()
    elif command == "coverage":
        coverage(arguments[0], int(arguments[1]))
    elif command == "single_step":
        single_step(int(arguments[0]))
    elif command == "large":
        large(arguments == ["repeatability"])
    elif command == "network":
        network(*map(int, arguments))

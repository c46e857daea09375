"""CPU of an iteration under priors of the user's own, against BayesC on the same network.

    python benchmarks/own_prior.py [iterations]

n=3,500, p=5,000, 10 omics of which 30 % of the individuals have none, tanh. Each prior is one line
of PyMC; nothing in the sampler knows it. Wanted: at most 1.3 times BayesC.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pymc as pm
from threadpoolctl import threadpool_limits

import nnmm_pymc as nn
from nnmm_pymc.chains import ChainTask, run_chain
from nnmm_pymc.record import RecordPlan
from nnmm_pymc.steps import assign_steps

# Before that the trajectories of NUTS for the missing omics are still far from equally long.
TUNE = 400


def priors(genotypes: nn.Genotypes) -> dict[str, object]:
    rng = np.random.default_rng(1)
    annotations = rng.normal(size=(genotypes.p, 3))
    spread = 2 * genotypes.allele_frequency * (1 - genotypes.allele_frequency)
    log_spread = np.log(spread / spread.mean())

    def annotated(name: str):
        start = pm.Normal(f"{name}_intercept", -1.6, 1)
        return pm.math.invprobit(start + annotations @ pm.Normal(f"{name}_slopes", 0, 1, shape=3))

    def by_frequency(name: str):
        exponent = pm.Normal(f"{name}_exponent", 0, 1)
        variance = pm.InverseGamma(f"{name}_mean", 2.5, 0.02)
        return variance * pm.math.exp(exponent * log_spread)

    def regions(name: str):
        spread = pm.HalfNormal(f"{name}_sd", 1)
        raw = pm.Normal(f"{name}_region", 0, 1, shape=50)
        return pm.math.invlogit(-3 + spread * raw)[np.arange(genotypes.p) * 50 // genotypes.p]

    return {
        "BayesC": nn.BayesC(),
        "BayesR": nn.BayesR(),
        "annotated inclusion": nn.BayesC(inclusion=annotated),
        "variance by allele frequency": nn.BayesC(slab_variance=by_frequency),
        "inclusion by region": nn.BayesC(inclusion=regions),
        "inclusion 0.05, half-normal sd": nn.BayesC(
            0.05, lambda name, dims: pm.HalfNormal(f"{name}_sd", 0.2, dims=dims) ** 2
        ),
    }


def iteration_ms(network: nn.Network, iterations: int) -> float:
    plan = assign_steps(network.model)
    record = RecordPlan(plan.conditional, iterations, 1)
    task = ChainTask(plan.compound, record, TUNE, iterations)
    start = plan.conditional.prior_points(seed=1, size=1)[0]
    marks = {}

    def report(done: int, divergences: int) -> None:
        marks[done] = time.process_time()

    run_chain(task, plan.compound.sampling_state, start, np.random.SeedSequence(1), report)
    return 1e3 * (marks[TUNE + iterations] - marks[TUNE]) / iterations


if __name__ == "__main__":
    iterations = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    data = nn.simulate(3500, 5000, 10, missing="individuals", missing_fraction=0.3, random_seed=1)
    layers = [
        nn.Layer("geno", nn.read_genotypes(data.genotypes)),
        nn.Layer("omics", data.omics),
        nn.Layer("pheno", data.phenotypes),
    ]
    base = None
    with threadpool_limits(1):
        for name, prior in priors(layers[0].data).items():
            first = nn.Equation("omics ~ 1 + geno", priors={"geno": prior})
            ms = iteration_ms(nn.Network(layers, [first, "y ~ 1 + tanh(omics)"]), iterations)
            base = ms if base is None else base
            print(f"{name:<32} {ms:7.1f} ms  {ms / base:5.2f} x", flush=True)

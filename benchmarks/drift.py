"""Genetic values of the float32 sweep against a float64 path with the same random numbers.

    python benchmarks/drift.py [--sweeps 100000]

200 individuals, 60 markers, two traits, some values missing. After a short run everything but the
marker effects is held, so that an iteration is one sweep of `MarkerGibbs`, with its refresh. Beside
it the same effects are drawn one by one from residuals in float64 that are never computed anew.
Printed, in residual standard deviations: the genetic values that the step holds against those of
its own effects, computed exactly, at their worst of all sweeps; and those of the two paths, at the
last sweep. Wanted: each < 1e-4. Under BayesC a uniform number within rounding of the probability
would include a marker in one path only; so many sweeps differed in some inclusion.
"""

from __future__ import annotations

import argparse
import copy

import numpy as np
import pandas as pd
from numba import njit

import nnmm_pymc as nn
from nnmm_pymc.steps.markers import MarkerGibbs
from nnmm_pymc.steps.plan import assign_steps

N, P = 200, 60
SHORT = 100
PRIORS = {
    "RRBLUP": nn.RRBLUP(slab_variance=0.05),
    "BayesC": nn.BayesC(inclusion=0.3, slab_variance=0.1),
}


@njit
def sweep64(x, seen, residual, precision, inclusion, variance, effects, uniforms, normals):
    """One sweep, marker by marker; x is (marker, individual), the rest by trait."""
    for j in range(x.shape[0]):
        for k in range(effects.shape[1]):
            own = x[j] * seen[k]
            information = precision[k] * (own @ own) + 1.0 / variance
            pull = precision[k] * (own @ residual[k] + (own @ own) * effects[j, k])
            weight = inclusion * np.exp(0.5 * pull**2 / information)
            weight /= np.sqrt(variance * information)
            # As in the kernel, numbers are included from above the probability of the spike.
            new = 0.0
            if uniforms[j, k] * (1.0 - inclusion + weight) >= 1.0 - inclusion:
                new = pull / information + normals[j, k] / np.sqrt(information)
            residual[k] -= (new - effects[j, k]) * x[j]
            effects[j, k] = new


def network(prior: nn.BayesC) -> nn.Network:
    rng = np.random.default_rng(1)
    ids, names = [f"i{i}" for i in range(N)], [f"m{j}" for j in range(P)]
    dosages = rng.binomial(2, 0.4, (N, P)).astype(float)
    traits = dosages[:, :10] @ rng.normal(0.0, 0.4, (10, 2)) + rng.normal(0.0, 1.0, (N, 2))
    traits[:20, 0] = np.nan
    layers = [
        nn.Layer("geno", pd.DataFrame(dosages, ids, names)),
        nn.Layer("pheno", pd.DataFrame(traits, ids, ["y0", "y1"])),
    ]
    return nn.Network(layers, [nn.Equation("pheno ~ 1 + geno", priors={"geno": prior})])


def main(name: str, sweeps: int) -> None:
    plan = assign_steps(network(PRIORS[name]).model)
    (step,) = (s for s in plan.compound.methods if isinstance(s, MarkerGibbs))
    assert step.scale is None
    plan.compound.setup_chain(np.random.default_rng(2), 0, sweeps)
    (point,) = plan.conditional.prior_points(1, 1)
    for _ in range(SHORT):
        point, _ = plan.compound.step(point)
    rng = copy.deepcopy(step.rng)
    effects_name = step.term.effects
    x = step.term.dosages.astype(float) - step.term.centre[:, None].astype(float)
    seen = step.masks[step.pattern].astype(float)
    plan.conditional.refresh(point)
    residual, precision, weights, variances = step.read(point)
    sd = 1.0 / np.sqrt(precision)
    effects = np.array(point[effects_name])
    # What is fitted and measured, in float64: the reader gives residuals as float32.
    fixed = residual.astype(float) + effects.T @ x
    residual = fixed - effects.T @ x
    held_away, differing = 0.0, 0
    for _ in range(sweeps):
        uniforms, normals = rng.random(effects.shape), rng.standard_normal(effects.shape)
        point, _ = step.step(point)
        prior = float(weights.ravel()[0]), float(variances.ravel()[0])
        sweep64(x, seen, residual, precision, *prior, effects, uniforms, normals)
        away = step.term.held.get_value() - x.T @ point[effects_name]
        held_away = max(held_away, float(np.abs(away / sd).max()))
        differing += bool(np.any((effects != 0.0) != (point[effects_name] != 0.0)))
    paths = float(np.abs((x.T @ (effects - point[effects_name])) / sd).max())
    print(
        f"{name}: {sweeps} sweeps, held against exact {held_away:.1e}, paths {paths:.1e} residual "
        f"sd; {differing} sweeps with another inclusion",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sweeps", type=int, default=100_000)
    given = parser.parse_args()
    for name in PRIORS:
        main(name, given.sweeps)

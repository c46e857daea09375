"""Hamiltonian updates against the model: densities, gradients, one leapfrog step, its energy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from pymc.blocking import DictToArrayBijection
from pymc.step_methods.hmc.integration import State as Phase

from nnmm_pymc.checks.gaussian import noise_misfits
from nnmm_pymc.checks.numbers import Given, standing_in
from nnmm_pymc.checks.reference import Change, State
from nnmm_pymc.steps.conditional import Point
from nnmm_pymc.steps.latent_hmc import LatentHMC
from nnmm_pymc.steps.network_nuts import NetworkNUTS
from nnmm_pymc.steps.nuts import ConditionalNUTS

__all__ = ["latent_hmc_misfits", "network_nuts_misfits", "nuts_misfits"]

MOVES, INDIVIDUALS = 3, 4
HALVINGS = 40
# Log of the least chance that halvings resolve.
LEAST = -10.0
# Of central differences.
WIDTH = 1e-5
# So long that a trajectory is a single leapfrog step.
STEP = 1.3
# Of NUTS, in radians: small enough that no trajectory is given up.
TURN = 0.05


def slope(state: State, direction: Point) -> Change:
    """Derivative of the log density along a direction, by central differences."""
    ends = [{n: state.point[n] + s * WIDTH * v for n, v in direction.items()} for s in (-1, 1)]
    change = replace(state, point=state.point | ends[0]).change(ends[1])
    return Change(change.value / (2 * WIDTH), change.size / WIDTH)


def nuts_misfits(step: ConditionalNUTS, state: State) -> Iterator[tuple[str, float]]:
    """Density and gradient of the stacked variables, as the trajectory evaluates them."""
    names = [v.name for v in step.vars]
    shapes = [np.shape(state.point[n]) for n in names]
    stops = np.cumsum([int(np.prod(s)) for s in shapes])

    def parts(q: np.ndarray) -> Point:
        split = np.split(q, stops[:-1])
        own = {n: p.reshape(s) for n, p, s in zip(names, split, shapes, strict=True)}
        return step.outward(own)

    # A draw hands over everything that the density is conditional on.
    step.step(state.point)
    function = step._logp_dlogp_func._pytensor_function
    start = state.point | step.inward(state.point)
    q = np.concatenate([np.ravel(start[n]) for n in names])
    reference = float(function(q)[0])
    for _ in range(MOVES):
        there = q + 0.3 * state.rng.normal(size=len(q))
        logp, gradient = function(there)
        gradient = np.array(gradient)
        misfit = state.change(parts(there)).misfit(float(logp) - reference)
        for name in names:
            yield name, misfit
        moved = replace(state, point=state.point | parts(there))
        for name, first, stop in zip(names, [0, *stops], stops, strict=False):
            direction = np.zeros(len(q))
            direction[first:stop] = state.rng.normal(size=stop - first)
            # Coordinates of a trajectory are linear in the variables, or they are the variables.
            found = slope(moved, parts(direction))
            size = np.abs(gradient[first:stop]).sum()
            yield name, found.misfit(float(gradient @ direction), size)


def network_nuts_misfits(step: NetworkNUTS, state: State) -> Iterator[tuple[str, float]]:
    """`nuts_misfits`, what a trajectory turns around, and a trajectory of one leapfrog step.

    With centre c, masses M, and U minus the log density, a step of s radians is
    p <- p - s (U'(q) - M (q - c)) / 2, a turn of (q - c, p / M) by s, and the first again; its
    error is the change of U(q) + p' p / (2 M).
    """
    yield from nuts_misfits(step, state)
    names = [v.name for v in step.vars]
    for misfit in [*_turn_misfits(step, state, names), *_one_step_misfits(step, state, names)]:
        for name in names:
            yield name, misfit


def _turn_misfits(step: NetworkNUTS, state: State, names: list[str]) -> Iterator[float]:
    """Centre and masses must not depend on where the trajectory begins."""
    own = {n: np.asarray(state.point[n]) for n in names}
    moved = {n: v + state.rng.normal(size=v.shape) for n, v in own.items()}
    references = []
    for point in (state.point | moved, state.point):
        step.conditional.refresh(point)
        step._prepare(point)
        references.append(step.reference)
    for there, here in zip(*references, strict=True):
        yield float(np.max(np.abs(there - here) / (np.abs(here) + 1e-3)))


def _one_step_misfits(step: NetworkNUTS, state: State, names: list[str]) -> Iterator[float]:
    order, (centre, mass, _) = step.fused.order, step.reference
    start = state.point | step.inward(state.point)
    stacked = DictToArrayBijection.map({n: start[n] for n in names})

    def slopes(q: np.ndarray) -> tuple[float, np.ndarray]:
        whole = np.empty_like(q)
        whole[order] = q
        logp, gradient = step._logp_dlogp_func._pytensor_function(whole)
        return float(logp), np.array(gradient)

    q = stacked.data[order]
    logp, gradient = slopes(q)
    for turn in (TURN, -TURN):
        p = state.rng.normal(size=len(q)) * np.sqrt(mass)
        kicked = p + 0.5 * turn * (gradient[order] + mass * (q - centre))
        new = centre + np.cos(turn) * (q - centre) + np.sin(turn) * kicked / mass
        new_logp, new_gradient = slopes(new)
        new_p = np.cos(turn) * kicked - np.sin(turn) * mass * (q - centre)
        new_p += 0.5 * turn * (new_gradient[order] + mass * (new - centre))
        before, after = 0.5 * np.sum(p**2 / mass), 0.5 * np.sum(new_p**2 / mass)
        error = Change(after - new_logp - (before - logp), before + after)
        # Forwards or backwards, and with no chance to stay.
        always = Given([np.array([0.0 if turn > 0 else 1.0]), np.zeros(1)])
        phase = Phase(stacked, p, p / mass, gradient, before - logp, logp, 0)
        with (
            standing_in(step, "rng", always),
            standing_in(step, "max_treedepth", 1),
            standing_in(step, "early_max_treedepth", 1),
        ):
            end = step._hamiltonian_step(phase, p, abs(turn)).end
        yield float(np.abs(end.q.data[order] - new).max() / np.abs(new - q).max())
        yield error.misfit(float(end.energy - phase.energy), 1e-3)


def latent_hmc_misfits(step: LatentHMC, state: State) -> Iterator[tuple[str, float]]:
    """Coefficients from their noise; of the cells, one leapfrog step and the chance to accept it.

    With p the momenta, mass m and U minus the log density, a step is
    z' = z + s (p - s U'(z) / 2) / m, and accepted with the ratio of the densities of (z, p).
    """
    keep = step.log_step, step.tuning, step.passes
    step.log_step, step.tuning, step.passes = float(np.log(STEP)), False, 1
    yield from noise_misfits(step, state, momenta=1)
    for misfit in _leapfrog_misfits(step, state):
        yield step.density.network.missing, misfit
    step.log_step, step.tuning, step.passes = keep


def _leapfrog_misfits(step: LatentHMC, state: State) -> Iterator[float]:
    density, rng = step.density, state.rng
    name, rows, n_rows = density.network.missing, density.cell_rows, len(density.incomplete)
    z = np.asarray(state.point[name])
    # Below every probability, also one that is zero in floating point.
    always, none, one = np.full(n_rows, -1.0), np.zeros(len(z)), np.ones(len(z))

    def moved(noise: np.ndarray, uniforms: np.ndarray, at: np.ndarray) -> np.ndarray:
        with standing_in(step, "rng", Given([uniforms], [noise])):
            return step.step(state.point | {name: at})[0][name]

    def pull(at: np.ndarray) -> np.ndarray:
        """Gradient of the log density that acts on cells without momentum."""
        return 2.0 * mass * (moved(none, always, at) - at) / STEP**2

    still = moved(none, always, z)
    mass = (STEP / (moved(one, always, z) - still)) ** 2
    elsewhere = (STEP / (moved(one, always, still) - moved(none, always, still))) ** 2
    yield float(np.abs(elsewhere / mass - 1.0).max())
    for _ in range(MOVES):
        direction = rng.normal(size=len(z))
        own = pull(z)
        yield slope(state, {name: direction}).misfit(float(own @ direction), np.abs(own).sum())

    noise = rng.normal(size=len(z))
    new = moved(noise, always, z)
    low, high = np.zeros(n_rows), np.ones(n_rows)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        stays = np.bincount(rows, moved(noise, middle, z) != new, n_rows) > 0
        low, high = np.where(stays, low, middle), np.where(stays, middle, high)
    before = noise * np.sqrt(mass)
    after = before + 0.5 * STEP * (pull(z) + pull(new))
    for r in rng.choice(n_rows, min(INDIVIDUALS, n_rows), replace=False):
        own = rows == r
        change = state.change({name: np.where(own, new, z)})
        ratio = min(0.0, change.value + 0.5 * np.sum((before**2 - after**2)[own] / mass[own]))
        accepted = np.log(max(low[r], np.exp(LEAST)))
        yield Change(max(ratio, LEAST), change.size).misfit(float(accepted), 1.0)

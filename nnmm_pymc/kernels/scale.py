"""Slice sampling of the logarithm of a slab variance that has an inverse-gamma prior."""

from __future__ import annotations

import numpy as np

from nnmm_pymc.kernels.jit import FAST, kernel, part
from nnmm_pymc.kernels.slice import STEPS_OUT

__all__ = ["draw_scale", "log_density", "moved_value", "scale_sums"]


@kernel()
def moved_value(value, before, residual):
    """Genetic values, (n, K), after what they gained the residuals, (K, n), have lost."""
    out = np.empty_like(value)
    n, n_responses = value.shape
    for i in range(n):
        for k in range(n_responses):
            out[i, k] = value[i, k] + (before[k, i] - residual[k, i])
    return out


@kernel(fastmath=FAST)
def scale_sums(value, residual, masks, pattern):
    """Sums over the individuals that count of g^2 and of g r, for every response.

    Parameters
    ----------
    value : (n, K) array
        Genetic values g.
    residual : (K, n) array
        r.
    masks, pattern
        As in `nnmm_pymc.kernels.markers.sweep`.
    """
    n, n_responses = value.shape
    squares, products = np.zeros(n_responses), np.zeros(n_responses)
    for i in range(n):
        for k in range(n_responses):
            g = value[i, k] * masks[pattern[k], i]
            squares[k] += g * g
            products[k] += g * residual[k, i]
    return squares, products


@part(error_model="numpy")
def log_density(at, start, exponent, rate, linear, quadratic):
    """Prior and likelihood of log v, the effects scaled with v (`nnmm_pymc.steps.scale`)."""
    away = np.expm1(0.5 * (at - start))
    prior = (exponent + 1.0) * at - 0.5 * rate * np.exp(-at)
    return prior + away * linear - 0.5 * away * away * quadratic


@kernel()
def draw_scale(rng, start, exponent, rate, linear, quadratic):
    """One update of every element; the algorithm of `nnmm_pymc.kernels.slice.slice_sample`.

    Parameters
    ----------
    rng : numpy.random.Generator
    start : (K,) array
        Current log v.
    exponent, rate : (K,) arrays
        Prior ``v^exponent exp(-rate / (2 v))``.
    linear, quadratic : (K,) arrays
        Of the log likelihood in the factor of the effects.

    Returns
    -------
    (K,) array

    Raises
    ------
    FloatingPointError
        If the density is not finite where the chain is.
    """
    out = np.empty_like(start)
    for k in range(start.shape[0]):
        own = (start[k], exponent[k], rate[k], linear[k], quadratic[k])
        # Numba compiles other distributions than this one for a second each.
        level = log_density(start[k], *own) + np.log(1.0 - rng.random())
        if not np.isfinite(level):  # nothing is above NaN: the interval would shrink for ever
            raise FloatingPointError("The log density is not finite at the start of a scale move.")
        left = start[k] - rng.random()
        right = left + 1.0
        to_left = int(rng.random() * (STEPS_OUT + 1))
        for _ in range(to_left):
            if log_density(left, *own) <= level:
                break
            left -= 1.0
        for _ in range(STEPS_OUT - to_left):
            if log_density(right, *own) <= level:
                break
            right += 1.0
        while True:
            proposal = left + (right - left) * rng.random()
            if log_density(proposal, *own) >= level:
                break
            if proposal < start[k]:
                left = proposal
            else:
                right = proposal
        out[k] = proposal
    return out

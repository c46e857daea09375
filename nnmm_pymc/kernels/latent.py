r"""Hamiltonian moves of the missing cells, each individual with its own acceptance.

Given the parameters individuals are independent, so a trajectory of a few cells is accepted or not
by itself: the step size does not shrink with the number of individuals as it does for one
trajectory of them all. For row i, cells k, traits t:

    U(z) = sum_k (z_k - m_k)^2 tau_k / 2 + sum_t (y_t - eta_t - sum_k w_kt g(z_k))^2 tau_t / 2

Leapfrog steps with a diagonal mass and a Metropolis test (Duane et al. 1987, Phys Lett B 195:216;
Neal 2011, Handbook of Markov Chain Monte Carlo, ch. 5).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nnmm_pymc.kernels.activate import activate
from nnmm_pymc.kernels.genotypes import FAST

__all__ = ["latent_hmc"]


@njit(fastmath=FAST, nogil=True, cache=True)
def _potential(
    z, mean, tau, columns, size, y, base, trait_tau, weights, centre, scale, code, leak, gradient
):
    """U and its gradient for one individual."""
    value = np.empty(size)
    slope = np.empty(size)
    total = 0.0
    for c in range(size):
        k = columns[c]
        value[c], slope[c] = activate(code, leak, (z[c] - centre[k]) / scale[k])
        away = z[c] - mean[c]
        total += 0.5 * tau[k] * away * away
        gradient[c] = tau[k] * away
    for t in range(len(y)):
        if np.isnan(y[t]):
            continue
        residual = y[t] - base[t]
        for c in range(size):
            residual -= weights[columns[c], t] * value[c]
        total += 0.5 * trait_tau[t] * residual * residual
        for c in range(size):
            k = columns[c]
            gradient[c] -= trait_tau[t] * residual * weights[k, t] * slope[c] / scale[k]
    return total


@njit(nogil=True, cache=True)
def latent_hmc(
    latent,
    mean,
    cell,
    tau,
    traits,
    base,
    trait_tau,
    weights,
    centre,
    scale,
    code,
    leak,
    mass,
    step,
    n_steps,
    normals,
    uniforms,
):
    """Move the missing cells of every individual once, in place.

    Parameters
    ----------
    latent, mean : (m,) arrays
        Missing cells, row by row, and their means given the markers.
    cell : (r, K) int
        Index into `latent`, negative where observed or left out.
    tau : (K,) residual precisions of the omics
    traits, base : (r, T) arrays
        Traits, NaN where missing, and all of their means but what the missing cells add.
    trait_tau : (T,), weights : (K, T), centre, scale : (K,)
    code, leak
        As in `nnmm_pymc.kernels.activate`.
    mass : (m,) array
        Of each cell.
    step : float
    n_steps : int
        Leapfrog steps.
    normals : (m,), uniforms : (r,) arrays of random numbers

    Returns
    -------
    float
        Mean acceptance probability over the individuals.
    """
    n_rows, n_omics = cell.shape
    columns = np.empty(n_omics, np.int64)
    index = np.empty(n_omics, np.int64)
    z, p, gradient = np.empty(n_omics), np.empty(n_omics), np.empty(n_omics)
    mu, m = np.empty(n_omics), np.empty(n_omics)
    accepted = 0.0
    for r in range(n_rows):
        size = 0
        for k in range(n_omics):
            if cell[r, k] >= 0:
                columns[size], index[size] = k, cell[r, k]
                size += 1
        before = 0.0
        for c in range(size):
            i = index[c]
            z[c], mu[c], m[c] = latent[i], mean[i], mass[i]
            p[c] = normals[i] * np.sqrt(m[c])
            before += 0.5 * p[c] * p[c] / m[c]
        # fmt: off
        before += _potential(z, mu, tau, columns, size, traits[r], base[r], trait_tau, weights,
                             centre, scale, code, leak, gradient)
        after = 0.0
        for _ in range(n_steps):
            for c in range(size):
                p[c] -= 0.5 * step * gradient[c]
                z[c] += step * p[c] / m[c]
            after = _potential(z, mu, tau, columns, size, traits[r], base[r], trait_tau, weights,
                               centre, scale, code, leak, gradient)
            for c in range(size):
                p[c] -= 0.5 * step * gradient[c]
        # fmt: on
        for c in range(size):
            after += 0.5 * p[c] * p[c] / m[c]
        ratio = np.exp(min(0.0, before - after))
        if not np.isfinite(ratio):
            ratio = 0.0
        accepted += ratio
        if uniforms[r] < ratio:
            for c in range(size):
                latent[index[c]] = z[c]
    return accepted / max(1, n_rows)

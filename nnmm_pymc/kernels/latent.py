r"""Hamiltonian moves of the missing cells, each individual with its own acceptance.

Given the parameters individuals are independent, so a trajectory of a few cells is accepted or not
by itself: the step size does not shrink with the number of individuals as it does for one
trajectory of them all. For row i, cells k, traits t:

    U(z) = sum_k (z_k - m_k)^2 tau_k / 2 + sum_t (y_t - eta_t - sum_k w_kt g(z_k))^2 tau_t / 2

Leapfrog steps with a diagonal mass and a Metropolis test (Duane et al. 1987, Phys Lett B 195:216;
Neal 2011, Handbook of Markov Chain Monte Carlo, ch. 5). All individuals move in step, with the
cells standing omic by omic, so that every loop runs along an array.
"""

from __future__ import annotations

import numpy as np

from nnmm_pymc.kernels.activate import activate_all
from nnmm_pymc.kernels.jit import FAST, kernel, part
from nnmm_pymc.kernels.rows import add, add_at, take_at

__all__ = ["latent_hmc"]


@part()
def _by_omic(cell, size):
    """Cells ordered omic by omic, the row of each, and where each omic begins."""
    n_rows, n_omics = cell.shape
    order, row = np.empty(size, np.int64), np.empty(size, np.int64)
    bounds = np.zeros(n_omics + 1, np.int64)
    count = 0
    for k in range(n_omics):
        for r in range(n_rows):
            if cell[r, k] >= 0:
                order[count], row[count] = cell[r, k], r
                count += 1
        bounds[k + 1] = count
    return order, row, bounds


@part(fastmath=FAST)
def _pull_cells(z, mean, tau, row, pull, slope, gradient, energy):
    """Gradient of U in the cells of one omic; adds their part of U to the energies of the rows."""
    for c in range(z.shape[0]):
        away = z[c] - mean[c]
        gradient[c] = tau * away - pull[c] * slope[c]
        energy[row[c]] += 0.5 * tau * away * away


@part()
def _pull_traits(eta, traits, tau, energy):
    """Turn the mean of one trait into its weighted residual, 0 where it is missing."""
    for i in range(eta.shape[0]):
        residual = 0.0 if np.isnan(traits[i]) else traits[i] - eta[i]
        energy[i] += 0.5 * tau * residual * residual
        eta[i] = tau * residual


@part()
def _potential(
    z, mean, row, bounds, tau, traits, base, trait_tau, weights, centre, scale, code, leak,
    gradient, energy,
):  # fmt: skip
    """Fill U of every row and its gradient in every cell."""
    n_omics, n_traits = weights.shape
    value, slope, pull = np.empty(len(z)), np.empty(len(z)), np.zeros(len(z))
    eta = base.copy()
    energy[:] = 0.0
    for k in range(n_omics):
        own = slice(bounds[k], bounds[k + 1])
        whole = bounds[k + 1] - bounds[k] == eta.shape[1]
        activate_all(code, leak, z[own], centre[k], scale[k], value[own], slope[own])
        for t in range(n_traits):
            if whole:
                add(eta[t], weights[k, t], value[own])
            else:
                add_at(eta[t], row[own], weights[k, t], value[own])
    for t in range(n_traits):
        _pull_traits(eta[t], traits[t], trait_tau[t], energy)
    for k in range(n_omics):
        own = slice(bounds[k], bounds[k + 1])
        whole = bounds[k + 1] - bounds[k] == eta.shape[1]
        push = pull[own]
        for t in range(n_traits):
            if whole:
                add(push, weights[k, t], eta[t])
            else:
                take_at(push, row[own], weights[k, t], eta[t])
        _pull_cells(z[own], mean[own], tau[k], row[own], push, slope[own], gradient[own], energy)


@part()
def _add_kinetic(p, mass, row, energy):
    for c in range(p.shape[0]):
        energy[row[c]] += 0.5 * p[c] * p[c] / mass[c]


@kernel()
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
    traits, base : (T, r) arrays
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
    order, row, bounds = _by_omic(cell, len(latent))
    z, mu, m = latent[order], mean[order], mass[order]
    p = normals[order] * np.sqrt(m)
    gradient = np.empty(len(z))
    before, after = np.empty(len(cell)), np.empty(len(cell))
    # fmt: off
    _potential(z, mu, row, bounds, tau, traits, base, trait_tau, weights, centre, scale, code,
               leak, gradient, before)
    _add_kinetic(p, m, row, before)
    for _ in range(n_steps):
        for c in range(len(z)):
            p[c] -= 0.5 * step * gradient[c]
            z[c] += step * p[c] / m[c]
        _potential(z, mu, row, bounds, tau, traits, base, trait_tau, weights, centre, scale, code,
                   leak, gradient, after)
        for c in range(len(z)):
            p[c] -= 0.5 * step * gradient[c]
    # fmt: on
    _add_kinetic(p, m, row, after)
    accepted = 0.0
    taken = np.zeros(len(cell), np.bool_)
    for r in range(len(cell)):
        ratio = np.exp(min(0.0, before[r] - after[r]))
        if not np.isfinite(ratio):
            ratio = 0.0
        accepted += ratio
        taken[r] = uniforms[r] < ratio
    for c in range(len(z)):
        if taken[row[c]]:
            latent[order[c]] = z[c]
    return accepted / max(1, len(cell))

"""Log density and gradient of a standard network in one pass over the rows with missing cells.

Row i, omic k, trait t, with e the weighted residual of the trait:

    log p = - sum_k (z_ik - m_ik)^2 / (2 s_k^2) - sum_t (y_it - eta_it)^2 / (2 s_t^2) + const
    m_ik = offset_ik + C_i b_k,   eta_it = offset_it + D_i c_t + sum_k w_kt g(z_ik)
    d/dz_ik = g'(z_ik) sum_t w_kt e_it - (z_ik - m_ik) / s_k^2,   e_it = (y_it - eta_it) / s_t^2

One pass gives everything, where a general graph takes one for each of a dozen operations.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nnmm_pymc.kernels.genotypes import FAST

__all__ = ["ACTIVATION_CODES", "activate", "network_density"]

ACTIVATION_CODES = {"identity": 0, "tanh": 1, "sigmoid": 2, "relu": 3, "leaky_relu": 4}


@njit(fastmath=FAST, nogil=True, cache=True)
def activate(code, leak, z):
    """Value and slope of the activation."""
    if code == 0:
        return z, 1.0
    if code == 1:
        value = np.tanh(z)
        return value, 1.0 - value * value
    if code == 2:
        value = 1.0 / (1.0 + np.exp(-z))
        return value, value * (1.0 - value)
    if z > 0.0:
        return z, 1.0
    return leak * z, leak


@njit(fastmath=FAST, nogil=True, cache=True)
def _incomplete_rows(
    latent,
    cell,
    activated,
    middle_offset,
    middle_design,
    middle_coefficients,
    middle_precision,
    traits,
    trait_offset,
    trait_design,
    trait_coefficients,
    trait_precision,
    weights,
    centre,
    scale,
    code,
    leak,
    grad_latent,
    grad_middle,
    grad_trait,
    grad_weights,
):
    """Log density of the incomplete rows, up to a constant; gradients are added to the outputs.

    Parameters
    ----------
    latent : (m,) missing cells, row by row
    cell : (r, K) int, index into `latent`, -1 where observed, -2 where left out
    activated : (r, K) activation of the observed cells
    middle_offset : (m,) held part of the mean of each missing cell
    middle_design : (r, c), middle_coefficients : (c, K), middle_precision : (K,)
    traits : (r, T), NaN where missing; trait_offset : (r, T)
    trait_design : (r, d), trait_coefficients : (d, T), trait_precision : (T,)
    weights : (K, T)
    centre, scale : (K,) standardisation inside the activation
    code, leak : activation and its slope below zero
    grad_latent, grad_middle, grad_trait, grad_weights : outputs in the shapes of their variables

    Returns
    -------
    float
    """
    n_rows, n_omics = cell.shape
    n_traits = traits.shape[1]
    value = np.empty(n_omics)
    slope = np.empty(n_omics)
    force = np.empty(n_traits)
    total = 0.0
    for r in range(n_rows):
        for k in range(n_omics):
            index = cell[r, k]
            if index >= 0:
                value[k], slope[k] = activate(code, leak, (latent[index] - centre[k]) / scale[k])
            else:
                value[k] = activated[r, k]
        for t in range(n_traits):
            force[t] = 0.0
            if np.isnan(traits[r, t]):
                continue
            mean = trait_offset[r, t]
            for d in range(trait_design.shape[1]):
                mean += trait_design[r, d] * trait_coefficients[d, t]
            for k in range(n_omics):
                mean += value[k] * weights[k, t]
            residual = traits[r, t] - mean
            force[t] = residual * trait_precision[t]
            total -= 0.5 * residual * force[t]
            for d in range(trait_design.shape[1]):
                grad_trait[d, t] += trait_design[r, d] * force[t]
            for k in range(n_omics):
                grad_weights[k, t] += value[k] * force[t]
        for k in range(n_omics):
            index = cell[r, k]
            if index < 0:
                continue
            pull = 0.0
            for t in range(n_traits):
                pull += weights[k, t] * force[t]
            mean = middle_offset[index]
            for c in range(middle_design.shape[1]):
                mean += middle_design[r, c] * middle_coefficients[c, k]
            residual = latent[index] - mean
            push = residual * middle_precision[k]
            total -= 0.5 * residual * push
            grad_latent[index] += pull * slope[k] / scale[k] - push
            for c in range(middle_design.shape[1]):
                grad_middle[c, k] += middle_design[r, c] * push
    return total


@njit(fastmath=FAST, nogil=True, cache=True)
def _quadratic(cross, linear, coefficients, precision, gradient):
    """Complete data: minus sum over columns of (b'Ab / 2 - b'u) / s^2; adds the gradient."""
    total = 0.0
    for k in range(cross.shape[0]):
        for a in range(cross.shape[1]):
            image = 0.0
            for b in range(cross.shape[2]):
                image += cross[k, a, b] * coefficients[b, k]
            total += precision[k] * coefficients[a, k] * (linear[a, k] - 0.5 * image)
            gradient[a, k] += precision[k] * (linear[a, k] - image)
    return total


@njit(nogil=True, cache=True)
def _take(q, index):
    out = np.empty(index.shape)
    for a in range(index.shape[0]):
        for k in range(index.shape[1]):
            out[a, k] = q[index[a, k]]
    return out


@njit(nogil=True, cache=True)
def _put(gradient, index, values):
    for a in range(index.shape[0]):
        for k in range(index.shape[1]):
            gradient[index[a, k]] += values[a, k]


@njit(nogil=True, cache=True)
def network_density(q, gradient, data):
    """Log density of the stacked variables up to a constant; `gradient` is overwritten.

    Parameters
    ----------
    q, gradient : (m,) arrays
    data : tuple
        From `FusedDensity.data`: where each variable stands in q, the priors, the incomplete rows,
        and the cross-products of the complete ones.
    """
    layout, priors, rows, complete = data
    first, last, middle_index, trait_index, weight_index, mask, held_weights = layout
    prior_mean, prior_precision = priors
    (
        middle_precision,
        trait_precision,
        middle_offset,
        trait_offset,
        cell,
        activated,
        middle_design,
        traits,
        trait_design,
        centre,
        scale,
        code,
        leak,
    ) = rows
    middle_cross, middle_linear, trait_cross, trait_linear = complete

    gradient[:] = 0.0
    middle, trait = _take(q, middle_index), _take(q, trait_index)
    # Weights that are no part of q are held.
    weights = held_weights if len(weight_index) == 0 else _take(q, weight_index) * mask
    n_omics = weights.shape[0]
    both = np.vstack((weights, trait))
    grad_middle, grad_both = np.zeros_like(middle), np.zeros_like(both)
    total = _incomplete_rows(
        q[first:last],
        cell,
        activated,
        middle_offset,
        middle_design,
        middle,
        middle_precision,
        traits,
        trait_offset,
        trait_design,
        trait,
        trait_precision,
        weights,
        centre,
        scale,
        code,
        leak,
        gradient[first:last],
        grad_middle,
        grad_both[n_omics:],
        grad_both[:n_omics],
    )
    total += _quadratic(middle_cross, middle_linear, middle, middle_precision, grad_middle)
    total += _quadratic(trait_cross, trait_linear, both, trait_precision, grad_both)
    _put(gradient, middle_index, grad_middle)
    _put(gradient, weight_index, grad_both[:n_omics] * mask)
    _put(gradient, trait_index, grad_both[n_omics:])
    for i in range(len(q)):
        away = q[i] - prior_mean[i]
        gradient[i] -= prior_precision[i] * away
        total -= 0.5 * prior_precision[i] * away * away
    return total

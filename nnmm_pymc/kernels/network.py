"""Log density and gradient of a standard network in one pass over the rows with missing cells.

Row i, omic k, trait t, with e the weighted residual of the trait:

    log p = - sum_k (z_ik - m_ik)^2 / (2 s_k^2) - sum_t (y_it - eta_it)^2 / (2 s_t^2) + const
    m_ik = offset_ik + C_i b_k,   eta_it = offset_it + D_i c_t + sum_k w_kt g(z_ik)
    d/dz_ik = g'(z_ik) sum_t w_kt e_it - (z_ik - m_ik) / s_k^2,   e_it = (y_it - eta_it) / s_t^2

The missing cells stand omic by omic, so that every loop runs along an array.
"""

from __future__ import annotations

import numpy as np

from nnmm_pymc.kernels.activate import activate_all
from nnmm_pymc.kernels.jit import FAST, kernel, part, section
from nnmm_pymc.kernels.rows import add, add_at, dot, dot_at, take_at

__all__ = ["add_activated", "density_and_gradient", "network_density"]


@part(fastmath=FAST)
def _push(latent, mean, precision, pull, slope, gradient):
    """Log density of the cells of one omic; `mean` becomes its gradient in their mean."""
    total = 0.0
    for c in range(latent.shape[0]):
        residual = latent[c] - mean[c]
        push = residual * precision
        total -= 0.5 * residual * push
        gradient[c] = pull[c] * slope[c] - push
        mean[c] = push
    return total


@part(fastmath=FAST)
def _pull_traits(eta, traits, counted, precision):
    """Log density of one trait; `eta` becomes its gradient in the mean."""
    total = 0.0
    for i in range(eta.shape[0]):
        residual = traits[i] - eta[i]
        eta[i] = counted[i] * precision * residual
        total -= 0.5 * residual * eta[i]
    return total


@section
def _incomplete_rows(
    latent,
    row,
    bounds,
    whole,
    activated,
    partial,
    middle_offset,
    middle_design,
    middle_coefficients,
    middle_precision,
    traits,
    counted,
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
    """Log density of the incomplete rows, up to a constant; fills the gradients.

    Parameters
    ----------
    latent : (m,) missing cells, omic by omic
    row : (m,) row of each among the r incomplete ones
    bounds : (K + 1,) where the cells of each omic begin and end
    whole : (K,) bool, whether those are all rows in order
    activated : (K, r) activation of the observed cells, 0 elsewhere
    partial : (K,) bool, whether an omic has any
    middle_offset : (m,) held part of the mean of each missing cell
    middle_design : (c, r), middle_coefficients : (c, K), middle_precision : (K,)
    traits, counted : (T, r) and whether they are observed; trait_offset : (T, r)
    trait_design : (d, r), trait_coefficients : (d, T), trait_precision : (T,)
    weights : (K, T)
    centre, scale : (K,) standardisation inside the activation
    code, leak : activation and its slope below zero
    grad_latent, grad_middle, grad_trait, grad_weights : outputs in the shapes of their variables

    Returns
    -------
    float
    """
    n_omics, n_traits = weights.shape
    value, slope = np.empty(latent.shape[0]), np.empty(latent.shape[0])
    eta = trait_offset.copy()
    total = 0.0
    for t in range(n_traits):
        for d in range(trait_design.shape[0]):
            add(eta[t], trait_coefficients[d, t], trait_design[d])
    for k in range(n_omics):
        own = slice(bounds[k], bounds[k + 1])
        activate_all(code, leak, latent[own], centre[k], scale[k], value[own], slope[own])
        for t in range(n_traits):
            if whole[k]:
                add(eta[t], weights[k, t], value[own])
            else:
                add_at(eta[t], row[own], weights[k, t], value[own])
            if partial[k]:
                add(eta[t], weights[k, t], activated[k])
    for t in range(n_traits):
        total += _pull_traits(eta[t], traits[t], counted[t], trait_precision[t])
        for d in range(trait_design.shape[0]):
            grad_trait[d, t] = dot(trait_design[d], eta[t])
    for k in range(n_omics):
        own = slice(bounds[k], bounds[k + 1])
        pull, mean = np.zeros(bounds[k + 1] - bounds[k]), middle_offset[own].copy()
        for t in range(n_traits):
            grad_weights[k, t] = dot(activated[k], eta[t]) if partial[k] else 0.0
            if whole[k]:
                grad_weights[k, t] += dot(value[own], eta[t])
                add(pull, weights[k, t], eta[t])
            else:
                grad_weights[k, t] += dot_at(value[own], row[own], eta[t])
                take_at(pull, row[own], weights[k, t], eta[t])
        for c in range(middle_design.shape[0]):
            take_at(mean, row[own], middle_coefficients[c, k], middle_design[c])
        precision = middle_precision[k]
        total += _push(latent[own], mean, precision, pull, slope[own], grad_latent[own])
        for c in range(middle_design.shape[0]):
            grad_middle[c, k] = dot_at(mean, row[own], middle_design[c])
    return total


@kernel()
def add_activated(mean, latent, row, bounds, weights, centre, scale, code, leak):
    """Add to the means of the traits, (n, T), what the activated missing cells give them.

    The cells and what else is given are as in `_incomplete_rows`, the rows those of `mean`.
    """
    value, slope = np.empty(latent.shape[0]), np.empty(latent.shape[0])
    for k in range(weights.shape[0]):
        own = slice(bounds[k], bounds[k + 1])
        activate_all(code, leak, latent[own], centre[k], scale[k], value[own], slope[own])
        for t in range(weights.shape[1]):
            add_at(mean[:, t], row[own], weights[k, t], value[own])


@part(fastmath=FAST)
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


@part()
def _take(q, index, out):
    for a in range(index.shape[0]):
        for k in range(index.shape[1]):
            out[a, k] = q[index[a, k]]


@part()
def _put(gradient, index, values):
    for a in range(index.shape[0]):
        for k in range(index.shape[1]):
            gradient[index[a, k]] += values[a, k]


@part()
def _times(values, factor, out):
    """The product; an array expression takes a second to compile."""
    for k in range(out.shape[0]):
        for t in range(out.shape[1]):
            out[k, t] = values[k, t] * factor[k, t]


@part(fastmath=FAST)
def _prior(q, mean, precision, gradient):
    total = 0.0
    for i in range(q.shape[0]):
        away = q[i] - mean[i]
        gradient[i] -= precision[i] * away
        total -= 0.5 * precision[i] * away * away
    return total


@part()
def _multiply(matrix, transposed, vector, index):
    """Multiply some elements of a vector by a matrix, in place."""
    old = np.empty(index.shape[0])
    for a in range(index.shape[0]):
        old[a] = vector[index[a]]
    for a in range(index.shape[0]):
        total = 0.0
        for b in range(index.shape[0]):
            total += (matrix[b, a] if transposed else matrix[a, b]) * old[b]
        vector[index[a]] = total


@section
def network_density(q, gradient, data):
    """Log density of the stacked variables up to a constant; `gradient` is overwritten.

    Parameters
    ----------
    q, gradient : (m,) arrays
    data : tuple
        From `FusedDensity.data`: where each variable stands in q, the priors, what is held in a
        draw, the incomplete rows, the cross-products of the complete ones, and elements of q that
        are multiplied by a matrix first.
    """
    layout, priors, held, rows, complete, whitening = data
    first, last, middle_index, trait_index, weight_index, mask, held_weights = layout
    prior_mean, prior_precision = priors
    middle_precision, trait_precision, middle_offset, trait_offset = held
    (
        row, bounds, whole, activated, partial, middle_design, traits, counted, trait_design,
        centre, scale, code, leak,
    ) = rows  # fmt: skip
    middle_cross, middle_linear, trait_cross, trait_linear = complete

    index, factor = whitening
    if index.shape[0]:
        q = q.copy()
    for t in range(index.shape[0]):
        _multiply(factor[t], False, q, index[t])
    n_omics, n_traits = mask.shape
    middle, grad_middle = np.empty(middle_index.shape), np.zeros(middle_index.shape)
    both = np.empty((n_omics + trait_index.shape[0], n_traits))
    grad_both = np.zeros(both.shape)
    weights, trait = both[:n_omics], both[n_omics:]
    for i in range(q.shape[0]):
        gradient[i] = 0.0
    _take(q, middle_index, middle)
    _take(q, trait_index, trait)
    _take(q, weight_index, weights)
    # Weights that are no part of q are held.
    _times(weights if weight_index.shape[0] else held_weights, mask, weights)
    total = _incomplete_rows(
        q[first:last], row, bounds, whole, activated, partial,
        middle_offset, middle_design, middle, middle_precision,
        traits, counted, trait_offset, trait_design, trait, trait_precision,
        weights, centre, scale, code, leak,
        gradient[first:last], grad_middle, grad_both[n_omics:], grad_both[:n_omics],
    )  # fmt: skip
    total += _quadratic(middle_cross, middle_linear, middle, middle_precision, grad_middle)
    total += _quadratic(trait_cross, trait_linear, both, trait_precision, grad_both)
    _put(gradient, middle_index, grad_middle)
    _times(grad_both[:n_omics], mask, grad_both[:n_omics])
    _put(gradient, weight_index, grad_both[:n_omics])
    _put(gradient, trait_index, grad_both[n_omics:])
    total += _prior(q, prior_mean, prior_precision, gradient)
    for t in range(index.shape[0]):
        _multiply(factor[t], True, gradient, index[t])
    return total


@kernel(fastmath=FAST, error_model="numpy")
def density_and_gradient(q, data):
    """Log density and gradient: `network_density` by itself."""
    gradient = np.empty_like(q)
    return network_density(q, gradient, data), gradient

"""One Gibbs sweep over the marker effects of all responses (omics or traits) of an equation.

Conditional of one effect, its inclusion integrated out of the draw of the effect. Response k has
residual precision t, marker j has centred dosages x, r is the residual without marker j:

    a | rest  =  0                with weight  w_0
                 N(m_c, 1 / C_c)  with weight  w_c / sqrt(v_c C_c) exp(m_c^2 C_c / 2)
    C_c = t x'x + 1 / v_c,   m_c = t x'r / C_c

with (w_c, v_c) the prior weight and variance of the c-th normal of the slab
(Habier et al. 2011, BMC Bioinformatics 12:186, for one normal; Moser et al. 2015, PLoS Genet
11:e1004969, for several).

Markers go through the cache in blocks. The products x'r of a block are taken at once for all
responses; while the block is drawn they are corrected by its Gram matrix, so the draws are those
of the marker-by-marker sampler; the residuals are updated once a block.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nnmm_pymc.kernels.genotypes import FAST, TILE, centre_tile

__all__ = ["BLOCK", "dense_sweep", "sweep"]

BLOCK = 32


@njit(fastmath=FAST, nogil=True, cache=True)
def _dot_4x2(x0, x1, x2, x3, r0, r1):
    zero = np.float32(0.0)
    a0, a1, a2, a3, b0, b1, b2, b3 = zero, zero, zero, zero, zero, zero, zero, zero
    for i in range(x0.shape[0]):
        p, q = r0[i], r1[i]
        a0 += x0[i] * p
        a1 += x1[i] * p
        a2 += x2[i] * p
        a3 += x3[i] * p
        b0 += x0[i] * q
        b1 += x1[i] * q
        b2 += x2[i] * q
        b3 += x3[i] * q
    return a0, a1, a2, a3, b0, b1, b2, b3


@njit(fastmath=FAST, nogil=True, cache=True)
def _dot_4x1(x0, x1, x2, x3, r):
    zero = np.float32(0.0)
    a0, a1, a2, a3 = zero, zero, zero, zero
    for i in range(x0.shape[0]):
        p = r[i]
        a0 += x0[i] * p
        a1 += x1[i] * p
        a2 += x2[i] * p
        a3 += x3[i] * p
    return a0, a1, a2, a3


@njit(fastmath=FAST, nogil=True, cache=True)
def _subtract_4(d0, d1, d2, d3, x0, x1, x2, x3, r):
    for i in range(r.shape[0]):
        r[i] -= d0 * x0[i] + d1 * x1[i] + d2 * x2[i] + d3 * x3[i]


@njit(nogil=True, cache=True)
def _load_4(dosages, centre, first, count, start, stop, tile):
    for b in range(4):
        if b < count:
            centre_tile(dosages[first + b, start:stop], centre[first + b], tile[b, : stop - start])
        else:
            tile[b, : stop - start] = np.float32(0.0)


@njit(nogil=True, cache=True)
def _block_products(dosages, centre, first, size, responses, tile, out):
    """Fill ``out[:size]`` with x'r for the markers of one block and all responses."""
    n = dosages.shape[1]
    n_responses = responses.shape[0]
    out[:size] = 0.0
    for start in range(0, n, TILE):
        stop = min(n, start + TILE)
        width = stop - start
        for j in range(0, size, 4):
            count = min(4, size - j)
            _load_4(dosages, centre, first + j, count, start, stop, tile)
            x0, x1, x2, x3 = tile[0, :width], tile[1, :width], tile[2, :width], tile[3, :width]
            k = 0
            while k + 1 < n_responses:
                a0, a1, a2, a3, b0, b1, b2, b3 = _dot_4x2(
                    x0, x1, x2, x3, responses[k, start:stop], responses[k + 1, start:stop]
                )
                first_dots, second_dots = (a0, a1, a2, a3), (b0, b1, b2, b3)
                for b in range(count):
                    out[j + b, k] += first_dots[b]
                    out[j + b, k + 1] += second_dots[b]
                k += 2
            if k < n_responses:
                dots = _dot_4x1(x0, x1, x2, x3, responses[k, start:stop])
                for b in range(count):
                    out[j + b, k] += dots[b]


@njit(nogil=True, cache=True)
def _block_update(dosages, centre, first, size, change, tile, residual):
    """Take the changed effects of one block out of the residuals of all responses."""
    n = dosages.shape[1]
    n_responses = residual.shape[0]
    for j in range(0, size, 4):
        count = min(4, size - j)
        if not np.any(change[j : j + count]):
            continue
        for start in range(0, n, TILE):
            stop = min(n, start + TILE)
            width = stop - start
            _load_4(dosages, centre, first + j, count, start, stop, tile)
            x0, x1, x2, x3 = tile[0, :width], tile[1, :width], tile[2, :width], tile[3, :width]
            for k in range(n_responses):
                d0, d1 = change[j, k], change[j + 1, k]
                d2, d3 = change[j + 2, k], change[j + 3, k]
                if d0 != 0.0 or d1 != 0.0 or d2 != 0.0 or d3 != 0.0:
                    _subtract_4(d0, d1, d2, d3, x0, x1, x2, x3, residual[k, start:stop])


@njit(nogil=True, cache=True)
def _draw_effect(product, sum_squares, precision, weights, variances, uniform, normal, scratch):
    """Draw one effect and its class: 0 and -1, or from one of the normals (module's formula).

    The weights are divided by the largest exponential, so none overflows and no logarithm is taken.
    """
    n_classes = weights.shape[0]
    spike = 1.0
    largest = 0.0
    for c in range(n_classes):
        spike -= weights[c]
        if weights[c] > 0.0:
            shrunk = precision * sum_squares * variances[c] + 1.0
            scratch[c] = 0.5 * (precision * product) ** 2 * variances[c] / shrunk
            largest = max(largest, scratch[c])
    # Weights that sum to one leave no spike; rounding must not open one.
    total = spike * np.exp(-largest) if spike > 1e-14 else 0.0
    threshold = total
    for c in range(n_classes):
        if weights[c] > 0.0:
            shrunk = precision * sum_squares * variances[c] + 1.0
            scratch[c] = weights[c] / np.sqrt(shrunk) * np.exp(scratch[c] - largest)
            total += scratch[c]
    target = uniform * total
    if target < threshold:
        return 0.0, -1
    chosen = -1
    for c in range(n_classes):
        if weights[c] > 0.0:
            chosen = c
            threshold += scratch[c]
            if target < threshold:
                break
    if chosen < 0:
        return 0.0, -1
    shrunk = precision * sum_squares * variances[chosen] + 1.0
    mean = precision * product * variances[chosen] / shrunk
    return mean + normal * np.sqrt(variances[chosen] / shrunk), chosen


@njit(nogil=True, cache=True)
def sweep(
    dosages,
    centre,
    gram,
    pattern,
    masks,
    residual,
    precision,
    weights,
    variances,
    effects,
    classes,
    uniforms,
    normals,
):
    """Draw every marker effect of every response once, in the order of the markers.

    Parameters
    ----------
    dosages : (p, n) array of int8 or float32
        Genotypes, marker-major; a negative value is a missing call.
    centre : (p,) array of float32
    gram : (P, p, BLOCK) array of float64
        `masked_gram` of each pattern of individuals.
    pattern : (K,) array of int
        Which pattern each response has.
    masks : (P, n) array of float32
        1 where an individual has a value of the response, else 0. With a single pattern of
        nothing but ones the masks are not applied.
    residual : (K, n) array of float32
        Response minus everything that is fitted, current effects included; updated in place,
        also where the mask is 0.
    precision : (K,) array of float64
        Residual precision of each response.
    weights, variances : (p, K, C) arrays of float64
        Prior probability and variance of each normal of the slab; may be broadcast views.
    effects : (p, K) array of float64
        Updated in place.
    classes : (p, K) array of int8
        Filled with the normal each effect was drawn from, -1 for a zero.
    uniforms, normals : (p, K) arrays of float64
        Random numbers.
    """
    p, n = dosages.shape
    n_responses = residual.shape[0]
    complete = masks.shape[0] == 1 and np.all(masks == np.float32(1.0))
    responses = residual if complete else np.empty_like(residual)
    tile = np.empty((4, TILE), np.float32)
    products = np.empty((BLOCK, n_responses))
    change = np.zeros((BLOCK, n_responses), np.float32)
    scratch = np.empty(weights.shape[2])

    for first in range(0, p, BLOCK):
        size = min(BLOCK, p - first)
        if not complete:
            for k in range(n_responses):
                mask = masks[pattern[k]]
                for i in range(n):
                    responses[k, i] = residual[k, i] * mask[i]
        _block_products(dosages, centre, first, size, responses, tile, products)
        change[:] = 0.0
        for j in range(size):
            marker = first + j
            for k in range(n_responses):
                old = effects[marker, k]
                block_gram = gram[pattern[k], marker]
                product = products[j, k] + block_gram[j] * old
                new, classes[marker, k] = _draw_effect(
                    product,
                    block_gram[j],
                    precision[k],
                    weights[marker, k],
                    variances[marker, k],
                    uniforms[marker, k],
                    normals[marker, k],
                    scratch,
                )
                if new != old:
                    effects[marker, k] = new
                    change[j, k] = np.float32(new - old)
                    for later in range(j + 1, size):
                        products[later, k] -= block_gram[later] * (new - old)
        _block_update(dosages, centre, first, size, change, tile, residual)


@njit(nogil=True, cache=True)
def dense_sweep(
    precision, linear, weights, variances, effects, classes, uniforms, normals, scratch
):
    """Draw every effect once where the rest of the density is ``-b'Pb/2 + h'b``.

    Parameters
    ----------
    precision : (q, q) array
        P, without the prior of the effects.
    linear : (q,) array
        h.
    weights, variances : (q, C) arrays
        Prior probability and variance of each normal of the slab.
    effects : (q,) array
        b; updated in place.
    classes : (q,) array of int8
        Filled with the normal each effect was drawn from, -1 for a zero.
    uniforms, normals : (q,) arrays
        Random numbers.
    scratch : (C,) array
    """
    for j in range(len(effects)):
        own = precision[j, j]
        product = linear[j] - precision[j] @ effects + own * effects[j]
        # fmt: off
        effects[j], classes[j] = _draw_effect(
            product, own, 1.0, weights[j], variances[j], uniforms[j], normals[j], scratch
        )
        # fmt: on

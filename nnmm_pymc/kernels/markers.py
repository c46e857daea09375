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

from nnmm_pymc.kernels.activate import exp
from nnmm_pymc.kernels.genotypes import FAST
from nnmm_pymc.kernels.vector import (
    LANES,
    centre_float32,
    centre_int8,
    dot,
    read_dot,
    subtract,
)

__all__ = ["BLOCK", "dense_sweep", "sweep"]

BLOCK = 32
# Individuals at a time: their residuals of ten responses and some rows of dosages fit the L1 cache.
TILE = 512
# The same where one response reads each dosage once.
LONG_TILE = 4096
_ROWS = 8

_dot_4x5, _dot_4x2, _dot_4x1 = dot(4, 5), dot(4, 2), dot(4, 1)
_read_4x5, _read_4x2, _read_4x1 = (read_dot(4, k, "int8") for k in (5, 2, 1))
_subtract_4, _subtract_1 = subtract(4), subtract(1)


@njit(nogil=True, cache=True)
def _centre_row(dosages, centre, marker, start, stop, tile, row):
    """Centred dosages of one marker, up to a whole number of vectors."""
    whole = (stop - start) // LANES * LANES
    source = dosages[marker:].ctypes.data + start * dosages.itemsize
    if dosages.itemsize == 1:
        centre_int8(source, centre[marker], whole, tile[row:].ctypes.data)
    else:
        centre_float32(source, centre[marker], whole, tile[row:].ctypes.data)
    for i in range(whole, stop - start):
        value = dosages[marker, start + i]
        tile[row, i] = np.float32(value) - centre[marker] if value >= 0 else np.float32(0.0)
    for i in range(stop - start, _vectors(stop - start)):
        tile[row, i] = np.float32(0.0)


@njit(nogil=True, cache=True)
def _vectors(n):
    """Length of whole vectors that hold n elements."""
    return (n + LANES - 1) // LANES * LANES


@njit(nogil=True, cache=True)
def _block_products(dosages, centre, first, size, responses, tile, lanes, out):
    """Fill ``out[:, :size]`` with x'r for the markers of one block and all responses."""
    n = dosages.shape[1]
    n_responses = responses.shape[0]
    lanes[:] = np.float32(0.0)
    r_stride, x_stride, lane_stride = responses.strides[0], tile.strides[0], lanes.strides[0]
    means = centre.ctypes.data
    long = LONG_TILE if n_responses == 1 else TILE
    for start in range(0, n, long):
        stop = min(n, start + long)
        width = _vectors(stop - start)
        r = responses.ctypes.data + 4 * start
        for j in range(0, size, 4):
            k = 0
            marker = first + j
            sums = lanes.ctypes.data + j * lane_stride
            x = tile.ctypes.data
            if dosages.itemsize == 1 and size - j >= 4 and width == stop - start:
                # The first responses convert the dosages and leave them in the tile for the rest.
                raw, mean = dosages[marker:].ctypes.data + start, means + 4 * marker
                if n_responses >= 5:
                    _read_4x5(raw, n, mean, x, x_stride, r, r_stride, width, sums, lane_stride)
                    k = 5
                elif n_responses >= 2:
                    _read_4x2(raw, n, mean, x, x_stride, r, r_stride, width, sums, lane_stride)
                    k = 2
                else:
                    _read_4x1(raw, n, mean, x, x_stride, r, r_stride, width, sums, lane_stride)
                    k = 1
            else:
                for b in range(min(4, size - j)):
                    _centre_row(dosages, centre, marker + b, start, stop, tile, b)
            while k < n_responses:
                column, place = r + k * r_stride, sums + 4 * LANES * k
                if k + 5 <= n_responses:
                    _dot_4x5(x, x_stride, column, r_stride, width, place, lane_stride)
                    k += 5
                elif k + 2 <= n_responses:
                    _dot_4x2(x, x_stride, column, r_stride, width, place, lane_stride)
                    k += 2
                else:
                    _dot_4x1(x, x_stride, column, r_stride, width, place, lane_stride)
                    k += 1
    _sum_lanes(lanes, size, out)


@njit(fastmath=FAST, nogil=True, cache=True)
def _sum_lanes(lanes, size, out):
    for j in range(size):
        for k in range(out.shape[0]):
            total = 0.0
            for lane in range(LANES):
                total += np.float64(lanes[j, k, lane])
            out[k, j] = total


@njit(nogil=True, cache=True)
def _block_update(dosages, centre, first, changed, change, tile, scales, addresses, residual):
    """Take the changed effects of one block out of the residuals of all responses.

    `changed` are the markers of the block with a change in any response; scales and addresses are
    scratch.
    """
    n = dosages.shape[1]
    for low in range(0, len(changed), _ROWS):
        rows = changed[low : min(low + _ROWS, len(changed))]
        for start in range(0, n, TILE):
            stop = min(n, start + TILE)
            for b in range(len(rows)):
                _centre_row(dosages, centre, first + rows[b], start, stop, tile, b)
            width = _vectors(stop - start)
            r = residual.ctypes.data + 4 * start
            for k in range(residual.shape[0]):
                count = 0
                for b in range(len(rows)):
                    if change[rows[b], k] != 0.0:
                        scales[count] = change[rows[b], k]
                        addresses[count] = tile.ctypes.data + b * tile.strides[0]
                        count += 1
                m = 0
                own = r + k * residual.strides[0]
                while m < count:
                    scale, address = scales.ctypes.data + 4 * m, addresses.ctypes.data + 8 * m
                    if m + 4 <= count:
                        _subtract_4(scale, address, own, width)
                        m += 4
                    else:
                        _subtract_1(scale, address, own, width)
                        m += 1


@njit(error_model="numpy", fastmath=FAST, nogil=True, cache=True)
def _draw_normal(product, sum_squares, precision, weight, variance, uniform, normal, effect, kind):
    """Draw one effect of every response where the slab is one normal; `kind` is 0, or -1 for zero.

    Both weights are divided by the exponential, so neither overflows and no logarithm is taken.
    """
    for k in range(product.shape[0]):
        pull = precision[k] * product[k]
        shrinkage = 1.0 / (precision[k] * sum_squares[k] * variance[k] + 1.0)
        scaled = variance[k] * shrinkage
        # A prior weight of one leaves no spike; rounding must not open one.
        left = 1.0 - weight[k] if weight[k] < 1.0 - 1e-14 else 0.0
        spike = left * exp(-0.5 * pull * pull * scaled) if weight[k] > 0.0 else 1.0
        included = uniform[k] * (spike + weight[k] * np.sqrt(shrinkage)) >= spike
        effect[k] = pull * scaled + normal[k] * np.sqrt(scaled) if included else 0.0
        kind[k] = 0 if included else -1


@njit(error_model="numpy", nogil=True, cache=True)
def _draw_mixture(product, sum_squares, precision, weights, variances, uniform, normal, odds):
    """Draw one effect and its class: 0 and -1, or from one of the normals (module's formula)."""
    n_classes = weights.shape[0]
    pull, information = precision * product, precision * sum_squares
    spike = 1.0
    largest = 0.0
    for c in range(n_classes):
        spike -= weights[c]
        if weights[c] > 0.0:
            odds[c] = 0.5 * pull * pull * variances[c] / (information * variances[c] + 1.0)
            largest = max(largest, odds[c])
    total = spike * exp(-largest) if spike > 1e-14 else 0.0
    threshold = total
    for c in range(n_classes):
        if weights[c] > 0.0:
            shrunk = information * variances[c] + 1.0
            odds[c] = weights[c] * exp(odds[c] - largest) / np.sqrt(shrunk)
            total += odds[c]
    target = uniform * total
    if target < threshold:
        return 0.0, -1
    chosen = -1
    for c in range(n_classes):
        if weights[c] > 0.0:
            chosen = c
            threshold += odds[c]
            if target < threshold:
                break
    if chosen < 0:
        return 0.0, -1
    scaled = variances[chosen] / (information * variances[chosen] + 1.0)
    return pull * scaled + normal * np.sqrt(scaled), chosen


@njit(nogil=True, cache=True)
def _draw_marker(
    product, sum_squares, precision, weights, variances, uniform, normal, effects, classes, scratch
):
    """Draw one effect of every response; weights and variances are (K, C), scratch (2, C, K)."""
    n_responses, n_classes = weights.shape
    if n_classes == 1:
        weight, variance = scratch[0, 0], scratch[1, 0]
        for k in range(n_responses):
            weight[k], variance[k] = weights[k, 0], variances[k, 0]
        # fmt: off
        _draw_normal(
            product, sum_squares, precision, weight, variance, uniform, normal, effects, classes
        )
        # fmt: on
        return
    for k in range(n_responses):
        effects[k], classes[k] = _draw_mixture(
            product[k],
            sum_squares[k],
            precision[k],
            weights[k],
            variances[k],
            uniform[k],
            normal[k],
            scratch[0, :, 0],
        )


@njit(fastmath=FAST, nogil=True, cache=True)
def _correct(products, gram, moved):
    for later in range(products.shape[0]):
        products[later] -= gram[later] * moved


@njit(nogil=True, cache=True)
def sweep(
    dosages,
    centre,
    gram,
    masks,
    pattern,
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
    masks : (P, n) array of float32
        1 where an individual has a value of the response, else 0. With a single pattern of
        nothing but ones the masks are not applied.
    pattern : (K,) array of int
        Which pattern each response has.
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
    # Rows end at whole vectors; what is beyond the last individual stays zero.
    work = np.zeros((n_responses, _vectors(n)), np.float32)
    work[:, :n] = residual
    responses = work if complete else np.zeros_like(work)
    tile = np.zeros((_ROWS, LONG_TILE if n_responses == 1 else TILE), np.float32)
    lanes = np.empty((BLOCK, n_responses, LANES), np.float32)
    products = np.empty((n_responses, BLOCK))
    change = np.zeros((BLOCK, n_responses), np.float32)
    changed = np.empty(BLOCK, np.int64)
    scales, addresses = np.empty(_ROWS, np.float32), np.empty(_ROWS, np.int64)
    old, own, squares = np.empty((3, n_responses))
    scratch = np.empty((2, weights.shape[2], n_responses))

    for first in range(0, p, BLOCK):
        size = min(BLOCK, p - first)
        if not complete:
            for k in range(n_responses):
                mask = masks[pattern[k]]
                for i in range(n):
                    responses[k, i] = work[k, i] * mask[i]
        _block_products(dosages, centre, first, size, responses, tile, lanes, products)
        change[:] = 0.0
        n_changed = 0
        for j in range(size):
            marker = first + j
            any_moved = False
            old[:] = effects[marker]
            for k in range(n_responses):
                squares[k] = gram[pattern[k], marker, j]
                own[k] = products[k, j] + squares[k] * old[k]
            # fmt: off
            _draw_marker(
                own, squares, precision, weights[marker], variances[marker],
                uniforms[marker], normals[marker], effects[marker], classes[marker], scratch,
            )
            # fmt: on
            for k in range(n_responses):
                moved = effects[marker, k] - old[k]
                if moved != 0.0:
                    any_moved = True
                    change[j, k] = np.float32(moved)
                    _correct(products[k, j + 1 : size], gram[pattern[k], marker, j + 1 :], moved)
            if any_moved:
                changed[n_changed] = j
                n_changed += 1
        # fmt: off
        _block_update(
            dosages, centre, first, changed[:n_changed], change, tile, scales, addresses, work
        )
        # fmt: on
    residual[:] = work[:, :n]


@njit(nogil=True, cache=True)
def dense_sweep(precision, linear, weights, variances, effects, classes, uniforms, normals):
    """Draw every effect once where the rest of the density is ``-b'Pb/2 + h'b``.

    Parameters
    ----------
    precision : (q, q) array
        P, without the prior of the effects.
    linear : (q,) array
        h.
    weights, variances : (q, 1, C) arrays
        Prior probability and variance of each normal of the slab.
    effects : (q,) array
        b; updated in place.
    classes : (q,) array of int8
        Filled with the normal each effect was drawn from, -1 for a zero.
    uniforms, normals : (q,) arrays
        Random numbers.
    """
    scratch = np.empty((2, weights.shape[2], 1))
    product, own, unit = np.empty(1), np.empty(1), np.ones(1)
    for j in range(len(effects)):
        own[0] = precision[j, j]
        product[0] = linear[j] - precision[j] @ effects + own[0] * effects[j]
        here = slice(j, j + 1)
        # fmt: off
        _draw_marker(
            product, own, unit, weights[j], variances[j], uniforms[here], normals[here],
            effects[here], classes[here], scratch,
        )
        # fmt: on

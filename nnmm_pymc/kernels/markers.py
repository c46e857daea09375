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

from nnmm_pymc.kernels.activate import exp
from nnmm_pymc.kernels.jit import FAST, kernel, part
from nnmm_pymc.kernels.packed import CHUNK, DIGITS
from nnmm_pymc.kernels.products import (
    LONG_TILE,
    ROWS,
    TILE,
    block_update,
    multiply,
    vectors,
)
from nnmm_pymc.kernels.vector import LANES

__all__ = ["BLOCK", "dense_sweep", "draw_mixture", "sweep"]

BLOCK = 64


@part(error_model="numpy", fastmath=FAST)
def draw_mixture(product, sum_squares, precision, weights, variances, uniform, normal, odds):
    """Draw one effect and its class: 0 and -1, or from one of the normals (module's formula).

    `odds`, one a normal, is scratch.
    """
    pull, information = precision * product, precision * sum_squares
    spike = 1.0
    largest = 0.0
    for c in range(weights.shape[0]):
        spike -= weights[c]
        odds[c] = 0.5 * pull * pull * variances[c] / (information * variances[c] + 1.0)
        if weights[c] > 0.0:
            largest = max(largest, odds[c])
    threshold = spike * exp(-largest) if spike > 1e-14 else 0.0
    total = threshold
    for c in range(weights.shape[0]):
        if weights[c] > 0.0:
            size = weights[c] * exp(odds[c] - largest)
            odds[c] = size / np.sqrt(information * variances[c] + 1.0)
            total += odds[c]
    target = uniform * total
    if target < threshold:
        return 0.0, -1
    chosen = -1
    for c in range(weights.shape[0]):
        if weights[c] > 0.0:
            chosen = c
            threshold += odds[c]
            if target < threshold:
                break
    if chosen < 0:
        return 0.0, -1
    scaled = variances[chosen] / (information * variances[chosen] + 1.0)
    return pull * scaled + normal * np.sqrt(scaled), chosen


@part(error_model="numpy", fastmath=FAST)
def _draw_block(
    first, products, gram, pattern, precision, weights, variances, uniforms, normals, effects,
    classes, change, moved_any, changed, scratch,
):  # fmt: skip
    """Draw all effects of the markers of one block; returns how many of them changed.

    Where the slab is one normal, both weights are divided by the exponential, so neither overflows
    and no logarithm is taken.
    """
    n_responses, size = products.shape[0], change.shape[0]
    n_classes = weights.shape[2]
    (old, product, squares, weight, variance), odds = scratch
    n_changed = 0
    for j in range(size):
        marker = first + j
        for k in range(n_responses):
            old[k] = effects[marker, k]
            squares[k] = gram[pattern[k], marker, j]
            product[k] = products[k, j] + squares[k] * old[k]
            weight[k], variance[k] = weights[marker, k, 0], variances[marker, k, 0]
        if n_classes == 1:
            for k in range(n_responses):
                pull = precision[k] * product[k]
                shrinkage = 1.0 / (precision[k] * squares[k] * variance[k] + 1.0)
                scaled = variance[k] * shrinkage
                # A prior weight of one leaves no spike; rounding must not open one.
                left = 1.0 - weight[k] if weight[k] < 1.0 - 1e-14 else 0.0
                spike = left * exp(-0.5 * pull * pull * scaled) if weight[k] > 0.0 else 1.0
                included = uniforms[marker, k] * (spike + weight[k] * np.sqrt(shrinkage)) >= spike
                drawn = pull * scaled + normals[marker, k] * np.sqrt(scaled)
                effects[marker, k] = drawn if included else 0.0
                classes[marker, k] = 0 if included else -1
        else:
            for k in range(n_responses):
                # fmt: off
                effects[marker, k], classes[marker, k] = draw_mixture(
                    product[k], squares[k], precision[k], weights[marker, k], variances[marker, k],
                    uniforms[marker, k], normals[marker, k], odds,
                )
                # fmt: on
        any_moved = False
        for k in range(n_responses):
            moved = effects[marker, k] - old[k]
            change[j, k] = np.float32(moved)
            if moved != 0.0:
                any_moved = moved_any[k] = True
                for later in range(j + 1, size):
                    products[k, later] -= gram[pattern[k], marker, later] * moved
        if any_moved:
            changed[n_changed] = j
            n_changed += 1
    return n_changed


@kernel()
def sweep(
    dosages,
    packed,
    starts,
    missing,
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
    packed, starts, missing : arrays
        Those of `Packed`.
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
    genotypes = (dosages, packed, starts, missing, centre)
    complete = masks.shape[0] == 1 and np.all(masks == np.float32(1.0))
    is_packed = packed.shape[0] == p
    # Rows end at whole vectors; what is beyond the last individual stays zero.
    width = (n + CHUNK - 1) // CHUNK * CHUNK if is_packed else vectors(n)
    work = np.zeros((n_responses, width), np.float32)
    work[:, :n] = residual
    responses = work if complete else np.zeros_like(work)
    tile = np.zeros((ROWS, LONG_TILE if n_responses == 1 else TILE), np.float32)
    lanes = np.empty((0 if is_packed else BLOCK, n_responses, LANES), np.float32)
    digits = np.empty((n_responses, width // 64 if is_packed else 0, DIGITS, 64), np.int8)
    units, totals = np.empty((2, n_responses))
    sums = np.empty(8, np.int64)
    moved_any = np.ones(n_responses, np.bool_)
    products = np.empty((n_responses, BLOCK))
    change = np.zeros((BLOCK, n_responses), np.float32)
    changed = np.empty(BLOCK, np.int64)
    scratch = np.empty((5, n_responses)), np.empty(weights.shape[2])

    for first in range(0, p, BLOCK):
        size = min(BLOCK, p - first)
        if not complete:
            for k in range(n_responses):
                mask = masks[pattern[k]]
                for i in range(n):
                    responses[k, i] = work[k, i] * mask[i]
        # fmt: off
        multiply(
            genotypes, first, size, responses, moved_any, tile, lanes, digits, units, totals, sums,
            products,
        )
        moved_any[:] = False
        n_changed = _draw_block(
            first, products[:, :size], gram, pattern, precision, weights, variances, uniforms,
            normals, effects, classes, change[:size], moved_any, changed, scratch,
        )
        block_update(dosages, centre, first, changed[:n_changed], change, tile, work)
        # fmt: on
    residual[:] = work[:, :n]


@kernel()
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
    odds = np.empty(weights.shape[2])
    for j in range(len(effects)):
        own = precision[j, j]
        product = linear[j] - precision[j] @ effects + own * effects[j]
        effects[j], classes[j] = draw_mixture(
            product, own, 1.0, weights[j, 0], variances[j, 0], uniforms[j], normals[j], odds
        )

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

from nnmm_pymc.kernels.elementary import exp, log
from nnmm_pymc.kernels.jit import FAST, kernel, part, section
from nnmm_pymc.kernels.packed import CHUNK, DIGITS
from nnmm_pymc.kernels.products import (
    LONG_TILE,
    ROWS,
    SUMS,
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


@section
def _prepare_block(
    first, gram, pattern, precision, weights, variances, uniforms, normals, prepared
):  # fmt: skip
    """What the draws of a block need of each effect beside x'r, where the slab is one normal.

    An effect is drawn from the slab if u (w_0 + w_1 / sqrt(vC) exp(m^2 C / 2)) >= w_0, u uniform;
    so if m^2 C / 2 is at least the level log(w_0 (1 - u) / (u w_1 / sqrt(vC))), which is taken for
    all effects at once. With m^2 C = pull^2 / C, pull = t x'r, and 1 / C = `scaled`.
    """
    squares, scaled, levels, noise, weight, variance, uniform = prepared
    n_responses = pattern.shape[0]
    size = scaled.shape[0] // n_responses
    for j in range(size):
        for k in range(n_responses):
            i = j * n_responses + k
            squares[i] = gram[pattern[k], first + j, j]
            scaled[i] = precision[k] * squares[i]
            weight[i], variance[i] = weights[first + j, k, 0], variances[first + j, k, 0]
            uniform[i], noise[i] = uniforms[first + j, k], normals[first + j, k]
    for i in range(scaled.shape[0]):
        shrinkage = 1.0 / (scaled[i] * variance[i] + 1.0)
        scaled[i] = variance[i] * shrinkage
        noise[i] *= np.sqrt(scaled[i])
        # A prior weight of one leaves no spike; rounding must not open one.
        spike = 1.0 - weight[i] if weight[i] < 1.0 - 1e-14 else 0.0
        odds = spike * (1.0 - uniform[i]) / (uniform[i] * weight[i] * np.sqrt(shrinkage))
        level = log(min(max(odds, 1e-300), 1e300)) if spike > 0.0 else -np.inf
        levels[i] = level if weight[i] > 0.0 else np.inf


@section
def _draw_block(
    first, products, gram, pattern, precision, weights, variances, uniforms, normals, effects,
    classes, change, moved_any, changed, prepared, odds,
):  # fmt: skip
    """Draw all effects of the markers of one block; returns how many of them changed."""
    n_responses, size = products.shape[0], change.shape[0]
    one_normal = weights.shape[2] == 1
    squares, scaled, levels, noise = prepared[:4]
    if one_normal:
        # fmt: off
        _prepare_block(
            first, gram, pattern, precision, weights, variances, uniforms, normals, prepared
        )
        # fmt: on
    n_changed = 0
    for j in range(size):
        marker = first + j
        any_moved = False
        for k in range(n_responses):
            old = effects[marker, k]
            if one_normal:
                i = j * n_responses + k
                pull = precision[k] * (products[k, j] + squares[i] * old)
                included = 0.5 * pull * pull * scaled[i] >= levels[i]
                new = pull * scaled[i] + noise[i] if included else 0.0
                classes[marker, k] = 0 if included else -1
            else:
                own = gram[pattern[k], marker, j]
                # fmt: off
                new, classes[marker, k] = draw_mixture(
                    products[k, j] + own * old, own, precision[k], weights[marker, k],
                    variances[marker, k], uniforms[marker, k], normals[marker, k], odds,
                )
                # fmt: on
            effects[marker, k] = new
            moved = new - old
            change[j, k] = np.float32(moved)
            if moved != 0.0:
                any_moved = moved_any[k] = True
                for later in range(j + 1, size):
                    products[k, later] -= gram[pattern[k], marker, later] * moved
        if any_moved:
            changed[n_changed] = j
            n_changed += 1
    return n_changed


@part()
def _copy_columns(source, target, n):
    """Copy the first n columns; numba's own assignment takes two seconds to compile."""
    for k in range(target.shape[0]):
        for i in range(n):
            target[k, i] = source[k, i]


@part()
def _all_ones(mask):
    for value in mask:
        if value != 1.0:
            return False
    return True


@kernel(error_model="numpy", fastmath=FAST)
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
        Genotypes, marker-major: int8 calls 0, 1, 2 and -1 (missing), or float32 dosages of which
        negative ones are missing.
    packed, starts, missing : arrays
        Those of `Packed`; `packed` may be None.
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
    complete = masks.shape[0] == 1 and _all_ones(masks[0])
    # Rows end at whole vectors; what is beyond the last individual stays zero.
    width = vectors(n) if packed is None else (n + CHUNK - 1) // CHUNK * CHUNK
    work = np.zeros((n_responses, width), np.float32)
    _copy_columns(residual, work, n)
    responses = work if complete else np.zeros(work.shape, np.float32)
    tile = np.zeros((ROWS, LONG_TILE if n_responses == 1 else TILE), np.float32)
    lanes = np.empty((BLOCK if packed is None else 0, n_responses, LANES), np.float32)
    digits = np.empty((n_responses, 0 if packed is None else width // 64, DIGITS, 64), np.int8)
    units, totals = np.empty(n_responses), np.empty(n_responses)
    sums = np.empty(SUMS, np.int64)
    moved_any = np.ones(n_responses, np.bool_)
    products = np.empty((n_responses, BLOCK))
    change = np.zeros((BLOCK, n_responses), np.float32)
    changed = np.empty(BLOCK, np.int64)
    prepared, odds = np.empty((7, BLOCK * n_responses)), np.empty(weights.shape[2])

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
        for k in range(n_responses):
            moved_any[k] = False
        n_changed = _draw_block(
            first, products[:, :size], gram, pattern, precision, weights, variances, uniforms,
            normals, effects, classes, change[:size], moved_any, changed,
            prepared[:, : size * n_responses], odds,
        )
        block_update(dosages, centre, first, changed[:n_changed], change, tile, work)
        # fmt: on
    _copy_columns(work, residual, n)


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

r"""One Gibbs sweep over the effects of markers on several traits that depend on each other.

With T traits, e_i the residuals of individual i without marker j, and Omega_i the inverse of their
covariance (zero for traits without a record) the likelihood of the effects b of marker j is

    exp(h'b - b'Ab / 2),   A = sum_i x_ij^2 Omega_i,   h = sum_i x_ij Omega_i e_i

so that individuals with the same records share one Omega, and A is a sum over such groups.

- Joint effects: pattern d says which traits S the marker reaches, with probability Pi_d, and
  b_S ~ N(0, G_SS). The effects are integrated out of the draw of the pattern,

      d | rest  with weight  Pi_d |G_SS|^(-1/2) |C|^(-1/2) exp(h_S' C^-1 h_S / 2),
      b_S | d   ~  N(C^-1 h_S, C^-1),   C = A_SS + G_SS^-1

  (Cheng, Kizilkaya, Zeng, Garrick, Fernando 2018, Genetics 209:89, draw the pattern given the
  effects of the traits that it leaves out, which are no variables here).
- Effects that are independent a priori: trait by trait, as in `nnmm_pymc.kernels.markers` with
  h_t - sum of A_ts b_s over the other traits as product and A_tt as information.

Markers go through the cache in blocks as there; what is multiplied with a block are the residuals
times Omega.
"""

from __future__ import annotations

import numpy as np

from nnmm_pymc.kernels.jit import FAST, kernel, part
from nnmm_pymc.kernels.markers import BLOCK, draw_mixture
from nnmm_pymc.kernels.packed import CHUNK, DIGITS
from nnmm_pymc.kernels.products import (
    ROWS,
    SUMS,
    TILE,
    block_update,
    multiply,
    vectors,
)
from nnmm_pymc.kernels.vector import LANES

__all__ = ["coupled_sweep", "joint_sweep"]


@part(error_model="numpy")
def _factor(information, pull, prior, members, size, lower, white):
    """Cholesky factor of C and ``L^-1 h`` of the traits of a pattern; returns log |C|/2."""
    half = 0.0
    for a in range(size):
        row = members[a]
        for b in range(a + 1):
            total = information[row, members[b]] + prior[row, members[b]]
            for c in range(b):
                total -= lower[a, c] * lower[b, c]
            lower[a, b] = np.sqrt(total) if a == b else total / lower[b, b]
        total = pull[row]
        for c in range(a):
            total -= lower[a, c] * white[c]
        white[a] = total / lower[a, a]
        half += np.log(lower[a, a])
    return half


@part(error_model="numpy")
def _draw_pattern(
    information, pull, log_prior, priors, members, sizes, uniform, normals, effects, scratch
):
    """Draw the pattern of one marker, then its effects; the module's formula."""
    weights, lower, white = scratch
    n_patterns, n_traits = priors.shape[:2]
    largest = -np.inf
    for d in range(n_patterns):
        weights[d] = log_prior[d]
        if weights[d] > -np.inf:
            size = sizes[d]
            half = _factor(information, pull, priors[d], members[d], size, lower, white)
            square = 0.0
            for a in range(size):
                square += white[a] * white[a]
            weights[d] += 0.5 * square - half
            largest = max(largest, weights[d])
    total = 0.0
    for d in range(n_patterns):
        weights[d] = np.exp(weights[d] - largest)
        total += weights[d]
    target, threshold, chosen = uniform * total, 0.0, -1
    for d in range(n_patterns):
        if weights[d] > 0.0:
            chosen = d
            threshold += weights[d]
            if target < threshold:
                break
    size = sizes[chosen]
    _factor(information, pull, priors[chosen], members[chosen], size, lower, white)
    for t in range(n_traits):
        effects[t] = 0.0
    for back in range(size):
        a = size - 1 - back
        drawn = white[a] + normals[members[chosen, a]]
        for c in range(a + 1, size):
            drawn -= lower[c, a] * effects[members[chosen, c]]
        effects[members[chosen, a]] = drawn / lower[a, a]


@part(error_model="numpy")
def _draw_by_trait(
    information, pull, weights, variances, uniforms, normals, effects, classes, odds
):
    """Draw the effects of one marker, each given those on the other traits."""
    for t in range(len(pull)):
        product = pull[t] + information[t, t] * effects[t]
        for s in range(len(pull)):
            product -= information[t, s] * effects[s]
        effects[t], classes[t] = draw_mixture(
            product, information[t, t], 1.0, weights[t], variances[t], uniforms[t], normals[t], odds
        )


@part(error_model="numpy")
def _read_marker(marker, j, products, gram, omega, effects, information, pull):
    """A and h of one marker, its current effects put back into the residuals."""
    n_traits = len(pull)
    information[:] = 0.0
    for g in range(omega.shape[0]):
        square = gram[g, marker, j]
        for t in range(n_traits):
            for s in range(n_traits):
                information[t, s] += square * omega[g, t, s]
    for t in range(n_traits):
        pull[t] = products[t, j]
        for s in range(n_traits):
            pull[t] += information[t, s] * effects[s]


@part(error_model="numpy")
def _take_out(marker, j, moved, products, gram, omega):
    """Take the change of one marker's effects out of the products of those behind it."""
    n_traits, size = products.shape
    for g in range(omega.shape[0]):
        for t in range(n_traits):
            weighted = 0.0
            for s in range(n_traits):
                weighted += omega[g, t, s] * moved[s]
            if weighted != 0.0:
                for later in range(j + 1, size):
                    products[t, later] -= gram[g, marker, later] * weighted


@part(fastmath=FAST)
def _weigh(omega, group, work, n, out):
    """Residuals times Omega of each individual's group."""
    out[:] = np.float32(0.0)
    n_traits = work.shape[0]
    for t in range(n_traits):
        for s in range(n_traits):
            if omega.shape[0] == 1:
                own = np.float32(omega[0, t, s])
                target, source = out[t], work[s]
                for i in range(n):
                    target[i] += own * source[i]
            else:
                row = omega[:, t, s].astype(np.float32)
                target, source = out[t], work[s]
                for i in range(n):
                    target[i] += row[group[i]] * source[i]


@kernel(fastmath=FAST, error_model="numpy")
def _sweep(genotypes, gram, group, omega, residual, prior, effects, classes, uniforms, normals):
    """The sweep of both kinds: `prior` is that of joint effects where it has patterns."""
    dosages, packed, _, _, centre = genotypes
    log_prior, priors, members, sizes, weights, variances = prior
    p, n = dosages.shape
    n_traits, n_patterns = residual.shape[0], priors.shape[0]
    width = vectors(n) if packed is None else (n + CHUNK - 1) // CHUNK * CHUNK
    work = np.zeros((n_traits, width), np.float32)
    work[:, :n] = residual
    weighted = np.zeros_like(work)
    tile = np.zeros((ROWS, TILE), np.float32)
    lanes = np.empty((BLOCK if packed is None else 0, n_traits, LANES), np.float32)
    digits = np.empty((n_traits, 0 if packed is None else width // 64, DIGITS, 64), np.int8)
    units, totals = np.empty((2, n_traits))
    sums = np.empty(SUMS, np.int64)
    products = np.empty((n_traits, BLOCK))
    change = np.zeros((BLOCK, n_traits), np.float32)
    changed = np.empty(BLOCK, np.int64)
    information, pull = np.empty((n_traits, n_traits)), np.empty(n_traits)
    old, moved = np.empty((2, n_traits))
    odds = np.empty(weights.shape[2])
    scratch = (np.empty(n_patterns), np.empty((n_traits, n_traits)), np.empty(n_traits))
    moved_any = np.ones(n_traits, np.bool_)
    n_changed = 1

    for first in range(0, p, BLOCK):
        size = min(BLOCK, p - first)
        if n_changed > 0:
            _weigh(omega, group, work, n, weighted)
        moved_any[:] = n_changed > 0
        # fmt: off
        multiply(
            genotypes, first, size, weighted, moved_any, tile, lanes, digits, units, totals, sums,
            products,
        )
        # fmt: on
        n_changed = 0
        for j in range(size):
            marker = first + j
            own = effects[marker]
            old[:] = own
            _read_marker(marker, j, products, gram, omega, own, information, pull)
            # fmt: off
            if n_patterns > 0:
                _draw_pattern(
                    information, pull, log_prior[marker], priors, members, sizes,
                    uniforms[marker, 0], normals[marker], own, scratch,
                )
            else:
                _draw_by_trait(
                    information, pull, weights[marker], variances[marker], uniforms[marker],
                    normals[marker], own, classes[marker], odds,
                )
            # fmt: on
            any_moved = False
            for t in range(n_traits):
                moved[t] = own[t] - old[t]
                change[j, t] = np.float32(moved[t])
                any_moved = any_moved or moved[t] != 0.0
            if any_moved:
                changed[n_changed] = j
                n_changed += 1
                _take_out(marker, j, moved, products[:, :size], gram, omega)
        # fmt: off
        block_update(dosages, centre, first, changed[:n_changed], change, tile, work)
        # fmt: on
    residual[:] = work[:, :n]


def joint_sweep(
    genotypes, gram, group, omega, residual, probabilities, patterns, covariance, effects,
    uniforms, normals,
):  # fmt: skip
    """Draw pattern and effects of every marker once, in the order of the markers.

    Parameters
    ----------
    genotypes : tuple
        Dosages (p, n), the arrays `packed` (or None), `starts` and `missing` of `Packed`, and
        centres (p,).
    gram : (P, p, BLOCK) array
        `masked_gram` of each group of individuals.
    group : (n,) array of int
        Group of each individual: those with records of the same traits.
    omega : (P, T, T) array
        Inverse covariance of the residuals of each group, zero for traits without records.
    residual : (T, n) array of float32
        Traits minus everything that is fitted; updated in place.
    probabilities : (p, D) array
        Prior probability of each pattern; may be a broadcast view.
    patterns : (D, T) array of bool
    covariance : (T, T) array
        G.
    effects : (p, T) array
        Updated in place.
    uniforms, normals : (p, 1) and (p, T) arrays
        Random numbers.
    """
    n_patterns, n_traits = patterns.shape
    priors = np.zeros((n_patterns, n_traits, n_traits))
    members = np.zeros((n_patterns, n_traits), np.int64)
    halves = np.zeros(n_patterns)
    for d, pattern in enumerate(patterns):
        own = np.flatnonzero(pattern)
        members[d, : len(own)] = own
        inside = covariance[np.ix_(own, own)]
        priors[d][np.ix_(own, own)] = np.linalg.inv(inside)
        halves[d] = 0.5 * np.linalg.slogdet(inside)[1]
    with np.errstate(divide="ignore"):
        log_prior = np.ascontiguousarray(np.log(probabilities) - halves)
    none = np.zeros((0, n_traits, 1))
    prior = (log_prior, priors, members, patterns.sum(axis=1), none, none)
    classes = np.zeros((0, n_traits), np.int8)
    _sweep(genotypes, gram, group, omega, residual, prior, effects, classes, uniforms, normals)


def coupled_sweep(
    genotypes, gram, group, omega, residual, weights, variances, effects, classes, uniforms,
    normals,
):  # fmt: skip
    """Draw every effect once where traits depend on each other but effects do not, a priori.

    Parameters
    ----------
    genotypes, gram, group, omega, residual, effects
        As in `joint_sweep`.
    weights, variances : (p, T, C) arrays
        As in `nnmm_pymc.kernels.markers.sweep`.
    classes : (p, T) array of int8
        Filled with the normal each effect was drawn from, -1 for a zero.
    uniforms, normals : (p, T) arrays
        Random numbers.
    """
    n_traits = len(residual)
    prior = (
        np.zeros((0, 0)),
        np.zeros((0, n_traits, n_traits)),
        np.zeros((0, n_traits), np.int64),
        np.zeros(0, np.int64),
        np.ascontiguousarray(weights),
        np.ascontiguousarray(variances),
    )
    _sweep(genotypes, gram, group, omega, residual, prior, effects, classes, uniforms, normals)

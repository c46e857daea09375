"""Products with a centred genotype matrix that is stored as int8."""

from __future__ import annotations

import numpy as np

from nnmm_pymc.kernels.jit import FAST, kernel, part

__all__ = ["TILE", "centre_tile", "genetic_values", "marker_products", "masked_gram"]

# Individuals per tile: four float32 markers and ten responses of this length stay in the L1 cache.
TILE = 512


@part(fastmath=FAST)
def centre_tile(dosage, centre, out):
    """Write ``dosage - centre`` as float32 into `out`; a missing call (negative) becomes 0."""
    for i in range(dosage.shape[0]):
        value = dosage[i]
        out[i] = np.float32(value) - centre if value >= 0 else np.float32(0.0)


@part(fastmath=FAST)
def _axpy(scale, x, out):
    for i in range(x.shape[0]):
        out[i] += scale * x[i]


def genetic_values(dosages: np.ndarray, centre: np.ndarray, effects: np.ndarray) -> np.ndarray:
    """Sum over markers of centred dosage times effect, in float64.

    Parameters
    ----------
    dosages : (p, n) array of int8 or float32
    centre : (p,) array of float32
    effects : (p, K) array of float64

    Returns
    -------
    (K, n) array of float64
    """
    out = np.zeros((effects.shape[1], dosages.shape[1]))
    # Where a chain has yet to begin they are none, and nothing need be compiled.
    if effects.any():
        _add_markers(dosages, centre, effects, out)
    return out


@kernel()
def _add_markers(dosages, centre, effects, out):
    p, n = dosages.shape
    n_responses = effects.shape[1]
    tile = np.empty(TILE)
    for start in range(0, n, TILE):
        stop = min(n, start + TILE)
        size = stop - start
        for j in range(p):
            fresh = True
            for k in range(n_responses):
                effect = effects[j, k]
                if effect != 0.0:
                    if fresh:
                        centre_tile(dosages[j, start:stop], centre[j], tile[:size])
                        fresh = False
                    _axpy(effect, tile[:size], out[k, start:stop])


@part(fastmath=FAST)
def _dot64(x, y):
    total = 0.0
    for i in range(x.shape[0]):
        total += np.float64(x[i]) * y[i]
    return total


@kernel()
def marker_products(dosages, centre, values):
    """Inner products of every centred marker with every row of `values`, in float64.

    Parameters
    ----------
    dosages : (p, n) array of int8 or float32
    centre : (p,) array of float32
    values : (K, n) array of float64

    Returns
    -------
    (p, K) array of float64
    """
    p, n = dosages.shape
    out = np.zeros((p, values.shape[0]))
    tile = np.empty(TILE, np.float32)
    for start in range(0, n, TILE):
        stop = min(n, start + TILE)
        size = stop - start
        for j in range(p):
            centre_tile(dosages[j, start:stop], centre[j], tile[:size])
            for k in range(values.shape[0]):
                out[j, k] += _dot64(tile[:size], values[k, start:stop])
    return out


def masked_gram(
    dosages: np.ndarray, centre: np.ndarray, mask: np.ndarray, block: int
) -> np.ndarray:
    """Inner products of the markers within each block of `block` successive markers.

    Made once a run, and so in NumPy, which takes no second to compile.

    Parameters
    ----------
    dosages : (p, n) array of int8 or float32
    centre : (p,) array of float32
    mask : (n,) array of float32
        Weight of each individual: 1 for one that counts, 0 for one that does not.
    block : int

    Returns
    -------
    (p, block) array of float64
        Entry ``[j, l]`` is the product of marker j with the l-th marker of the block of j.
    """
    p, n = dosages.shape
    out = np.zeros((p, block))
    for first in range(0, p, block):
        rows = slice(first, first + block)
        for start in range(0, n, TILE):
            own = slice(start, start + TILE)
            part = dosages[rows, own]
            tile = (part.astype(np.float32) - centre[rows, None]).astype(np.float64)
            tile[~(part >= 0)] = 0.0
            out[rows, : len(part)] += (tile * mask[own]) @ tile.T
    return out

"""Products with a centred genotype matrix that is stored as int8, tile by tile.

Once a run or now and then: where one is made in every draw, see `nnmm_pymc.kernels.products`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["TILE", "genetic_values", "marker_products", "masked_gram"]

# Markers and individuals of a tile, which stays in the cache.
ROWS, TILE = 64, 1024


def _tiles(
    dosages: np.ndarray, centre: np.ndarray, rows: np.ndarray | slice
) -> Iterator[tuple[slice, np.ndarray]]:
    """Centred dosages of some markers in float64, and which individuals these are."""
    for start in range(0, dosages.shape[1], TILE):
        own = slice(start, start + TILE)
        part = dosages[rows, own]
        tile = (part.astype(np.float32) - centre[rows, None]).astype(np.float64)
        tile[part < 0] = 0.0
        yield own, tile


def genetic_values(dosages: np.ndarray, centre: np.ndarray, effects: np.ndarray) -> np.ndarray:
    """Sum over markers of centred dosage times effect, in float64.

    Parameters
    ----------
    dosages : (p, n) array of int8 or float32
        Negative where a call is missing, which counts as the mean.
    centre : (p,) array of float32
    effects : (p, K) array of float64

    Returns
    -------
    (K, n) array of float64
    """
    out = np.zeros((effects.shape[1], dosages.shape[1]))
    used = np.flatnonzero(effects.any(axis=1))
    for first in range(0, len(used), ROWS):
        rows = used[first : first + ROWS]
        for own, tile in _tiles(dosages, centre, rows):
            out[:, own] += effects[rows].T @ tile
    return out


def marker_products(dosages: np.ndarray, centre: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Inner products of every centred marker with every row of `values`, in float64.

    Parameters
    ----------
    dosages, centre
        As in `genetic_values`.
    values : (K, n) array of float64

    Returns
    -------
    (p, K) array of float64
    """
    out = np.zeros((len(dosages), len(values)))
    for first in range(0, len(dosages), ROWS):
        rows = slice(first, first + ROWS)
        for own, tile in _tiles(dosages, centre, rows):
            out[rows] += tile @ values[:, own].T
    return out


def masked_gram(
    dosages: np.ndarray, centre: np.ndarray, mask: np.ndarray, block: int
) -> np.ndarray:
    """Inner products of the markers within each block of `block` successive markers.

    Parameters
    ----------
    dosages, centre
        As in `genetic_values`.
    mask : (n,) array of float32
        Weight of each individual: 1 for one that counts, 0 for one that does not.
    block : int

    Returns
    -------
    (p, block) array of float64
        Entry ``[j, l]`` is the product of marker j with the l-th marker of the block of j.
    """
    p = len(dosages)
    out = np.zeros((p, block))
    for first in range(0, p, block):
        rows = slice(first, first + block)
        size = len(dosages[rows])
        for own, tile in _tiles(dosages, centre, rows):
            out[rows, :size] += (tile * mask[own]) @ tile.T
    return out

"""Genotypes whose individuals count more or less: rows of centred dosages times a number."""

from __future__ import annotations

import numpy as np

from nnmm_pymc.data.genotypes import Genotypes
from nnmm_pymc.data.quality import MISSING
from nnmm_pymc.data.scratch import empty

__all__ = ["scaled_rows"]

_BLOCK = 512


def scaled_rows(genotypes: Genotypes, factor: np.ndarray) -> Genotypes:
    """Centred dosages of each individual times its factor, as float32 without missing calls.

    They are shifted to be positive as dosages are, and the mean takes the shift back.
    """
    dosages = empty(genotypes.dosages.shape, np.float32, genotypes.scratch)
    least = np.empty(genotypes.p)
    for start in range(0, genotypes.p, _BLOCK):
        raw = genotypes.dosages[start : start + _BLOCK]
        block = raw - genotypes.mean[start : start + _BLOCK, None]
        if raw.dtype == np.int8:
            block[raw == MISSING] = 0.0
        block *= factor
        low = block.min(axis=1).astype(np.float32)
        dosages[start : start + _BLOCK] = np.maximum(block - low[:, None], 0.0)
        least[start : start + _BLOCK] = low
    return Genotypes(
        dosages,
        genotypes.individuals,
        genotypes.markers,
        -least,
        genotypes.report,
        None,
        genotypes.source,
        genotypes.scratch,
    )

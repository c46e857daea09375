"""Markers of new genotypes matched to those of a fit: by name, centre and counted allele."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from nnmm_pymc.data import MISSING, Genotypes
from nnmm_pymc.errors import InputError

__all__ = ["match_markers"]


def match_markers(genotypes: Genotypes, result: xr.DataTree, layer: str) -> Genotypes:
    """Genotypes with the markers of the fit, in its order and centred as in it.

    A marker of the fit that the new genotypes lack is imputed by its mean, as a missing call is.
    Where alleles are known (PLINK) a dosage of the other allele is turned; text files must count
    the allele that the fit counted.
    """
    constants = result["constant_data"].dataset
    name = f"{layer}_mean_dosage"
    wanted = constants[name][constants[name].dims[0]].to_index().astype(str)
    mean = constants[name].to_numpy()
    position = genotypes.markers.get_indexer(wanted)
    if (position < 0).all():
        raise InputError(
            f"{genotypes.source}: none of its markers (first: {genotypes.markers[0]!r}) is in the "
            f"fit (first: {wanted[0]!r}); check the marker names."
        )
    dosages = genotypes.dosages[np.maximum(position, 0)]
    if dosages.dtype == np.int8:
        dosages[position < 0] = MISSING
    else:
        dosages[position < 0] = np.nan
        dosages = np.where(np.isnan(dosages), mean[:, None], dosages).astype(np.float32)
    swapped = _swapped_alleles(genotypes, constants, layer, wanted) & (position >= 0)
    if swapped.any():
        count = dosages[swapped]
        missing = count < 0 if dosages.dtype == np.int8 else np.zeros(count.shape, bool)
        dosages[swapped] = np.where(missing, count, 2 - count)
    return Genotypes(
        np.ascontiguousarray(dosages),
        genotypes.individuals,
        wanted,
        mean,
        genotypes.report,
        None,
        genotypes.source,
    )


def _swapped_alleles(
    genotypes: Genotypes, constants: xr.Dataset, layer: str, wanted: pd.Index
) -> np.ndarray:
    """Markers whose dosage counts the other allele than in the fit (PLINK counts the minor one)."""
    if genotypes.info is None or f"{layer}_effect_allele" not in constants:
        return np.zeros(len(wanted), bool)
    info = genotypes.info.reindex(wanted)
    absent = info["effect_allele"].isna().to_numpy()
    new = [info[f"{which}_allele"].astype(str).to_numpy() for which in ("effect", "other")]
    old = [constants[f"{layer}_{which}_allele"].to_numpy() for which in ("effect", "other")]

    def agree(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a == b) | (a == "0") | (b == "0")  # 0: the allele was not seen in that file

    same = agree(new[0], old[0]) & agree(new[1], old[1])
    swapped = agree(new[0], old[1]) & agree(new[1], old[0]) & ~same
    strange = ~(same | swapped | absent)
    if strange.any():
        j = int(np.argmax(strange))
        raise InputError(
            f"{genotypes.source}: marker {wanted[j]!r} has alleles {new[0][j]}/{new[1][j]}, in the "
            f"fit {old[0][j]}/{old[1][j]} ({strange.sum()} such markers); bring them to one strand "
            "or leave them out."
        )
    return swapped & ~absent

"""What random effects add to individuals whose levels the fit knows, or does not.

Levels of individuals are an (individual, 2) array: the position of the level among those of the
fit, -1 where it has not seen it, and the multiplier (1, or the covariate of a random slope). An
effect that was not seen has its prior: mean zero, and its variance goes to the intervals.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from nnmm_pymc.data.names import some
from nnmm_pymc.description import RandomDescription
from nnmm_pymc.edges import RandomEdge
from nnmm_pymc.errors import InputError

__all__ = ["edge_levels", "level_means", "level_spread", "member_positions"]


def edge_levels(edge: RandomEdge, known: pd.Index | None = None) -> np.ndarray:
    """Levels and multipliers of the individuals of a network, among those of `known`."""
    index = edge.index
    if known is not None:
        place = np.append(known.get_indexer(edge.levels), -1)
        index = place[index]
    return np.column_stack([index, edge.multiplier])


def level_means(effects: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """(draw, individual, column) of the effects (draw, level, column); 0 for unseen levels."""
    index = levels[:, 0].astype(int)
    return effects[:, index] * (levels[:, 1] * (index >= 0))[None, :, None]


def level_spread(random: RandomDescription, n: int, levels: np.ndarray | None) -> np.ndarray:
    """What the variance of the effects is multiplied with, (1, individual, 1): 0 where seen."""
    if levels is None:
        return np.full((1, n, 1), random.mean_square)
    return (levels[:, 1] ** 2 * (levels[:, 0] < 0))[None, :, None]


def member_positions(
    effects: xr.DataArray, random: RandomDescription, individuals: pd.Index | None
) -> np.ndarray:
    """Positions of individuals among the members of a pedigree or precision matrix.

    Raises
    ------
    InputError
        One is no member.
    """
    members = effects[effects.dims[2]].to_index().astype(str)
    if individuals is None:
        return np.arange(len(members))
    positions = members.get_indexer(individuals)
    absent = individuals[positions < 0]
    if len(absent) and len(absent) == len(individuals):
        raise InputError(
            f"None of the individuals ({some(absent)}) is in {random.layer!r} of the fit. IDs of a "
            "table are its index: use table.set_index('column of the IDs')."
        )
    if len(absent):
        raise InputError(
            f"{len(absent)} individuals are not in {random.layer!r} of the fit ({some(absent)}); "
            f"fit with a {random.layer!r} that contains them: its members need no records."
        )
    return positions

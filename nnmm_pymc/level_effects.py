"""Table of the random effects of a fit: of herds, litters, dams, members of a pedigree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from nnmm_pymc.description import read_description, traits_first
from nnmm_pymc.errors import InputError
from nnmm_pymc.summarise import summary, tails

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["level_effects"]


def level_effects(result: xr.DataTree, probability: float = 0.9) -> pd.DataFrame:
    """Posterior of every random effect: solutions for herds, maternal breeding values, ...

    Parameters
    ----------
    result : DataTree
        From `Network.fit`; of its draws those that were kept of effects.
    probability : float
        Of the intervals.

    Returns
    -------
    DataFrame
        Columns term (as in the equation), level, trait, mean, sd, lower, upper. Of ``ped`` the
        levels are all members of the pedigree, and the effect is their additive one; of
        ``ped(dam)`` it is what they would add as dams. `breeding_values` has the sum of the effects
        of an individual itself, with the intercept.

    Raises
    ------
    InputError
        If the result is not that of `Network.fit`, or has no random effects.
    """
    levels = tails(probability)
    frames = []
    for node in traits_first(read_description(result)):
        for name, random in node.random.items():
            draws = result["effect_draws"][name].stack(sample=("chain", "draw"))
            level_dim, trait_dim, _ = draws.dims
            for trait in node.columns:
                own = draws.sel({trait_dim: trait}).transpose("sample", ...)
                table = pd.DataFrame(summary(own.to_numpy(), levels))
                table.insert(0, "term", random.label)
                table.insert(1, "level", own[level_dim].to_numpy().astype(str))
                table.insert(2, "trait", trait)
                frames.append(table)
    if not frames:
        raise InputError("The fit has no random effects.")
    return pd.concat(frames, ignore_index=True)

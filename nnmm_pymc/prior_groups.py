"""Which prior a column or a marker gets where there are several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from nnmm_pymc.alphabet import MarkerPrior
from nnmm_pymc.errors import InputError

__all__ = ["MarkerGroups", "column_groups", "group_index", "group_label", "group_priors"]


@dataclass(frozen=True)
class MarkerGroups:
    """Priors by group of markers: chromosomes, annotation classes, chips.

    Parameters
    ----------
    groups : str or mapping from marker to group
        Name of a column of the marker table (``"chromosome"``), or a dict or Series; every marker
        needs a group.
    priors : MarkerPrior or mapping from group to MarkerPrior
        One prior, of which every group gets hyper-parameters of its own; or one for each group,
        ``"*"`` standing for all that are not named.

    Examples
    --------
    >>> MarkerGroups("chromosome", BayesC())
    MarkerGroups('chromosome', BayesC(inclusion=Prior("Beta", alpha=1, beta=1)))
    """

    groups: str | Mapping[Any, Any]
    priors: MarkerPrior | Mapping[Any, MarkerPrior]

    def __repr__(self) -> str:
        shown = repr(self.groups) if isinstance(self.groups, str) else f"<{len(self.groups)}>"
        return f"MarkerGroups({shown}, {self.priors!r})"


def group_label(key: Any) -> str:
    """Name of the hyper-parameters of a key of a mapping of priors."""
    if key == "*":
        return "rest"
    return "_".join(map(str, key)) if isinstance(key, tuple) else str(key)


def column_groups(
    priors: Mapping[Any, Any], columns: tuple[str, ...], name: str
) -> list[tuple[str, np.ndarray, Any]]:
    """Label, positions and prior of each group of columns of a mapping.

    Keys are a column, a tuple of columns, or ``"*"`` for all that are not named.
    """
    position = {column: k for k, column in enumerate(columns)}
    taken: dict[str, Any] = {}
    groups = []
    for key, prior in priors.items():
        if key == "*":
            continue
        names = key if isinstance(key, tuple) else (key,)
        for column in names:
            if column not in position:
                raise InputError(
                    f"The priors of {name} name {column!r}, which is no column of the equation's "
                    f"left side ({', '.join(columns[:5])}{', ...' if len(columns) > 5 else ''})."
                )
            if column in taken:
                raise InputError(f"The priors of {name} name {column!r} twice.")
            taken[column] = key
        groups.append((group_label(key), np.array([position[c] for c in names]), prior))
    rest = [c for c in columns if c not in taken]
    if rest and "*" not in priors:
        raise InputError(
            f"The priors of {name} leave out column {rest[0]!r}; name it, or give '*' for the rest."
        )
    if rest:
        groups.append(("rest", np.array([position[c] for c in rest]), priors["*"]))
    return groups


def group_index(
    prior: MarkerGroups, markers: Any, info: pd.DataFrame | None, name: str
) -> tuple[list[str], np.ndarray]:
    """Labels of the groups of markers, and the group of each; `info` is the marker table."""
    index = pd.Index(markers)
    if isinstance(prior.groups, str):
        if info is None or prior.groups not in info.columns:
            known = "none" if info is None else ", ".join(info.columns)
            raise InputError(
                f"The priors of {name} are by {prior.groups!r}, which is no column of the marker "
                f"table (columns: {known}); give a mapping from markers to groups instead."
            )
        found = info[prior.groups].reindex(index)
    else:
        found = pd.Series(dict(prior.groups), dtype=object).reindex(index)
    lacking = index[found.isna().to_numpy()]
    if len(lacking):
        raise InputError(
            f"The priors of {name}: {len(lacking)} markers have no group, the first {lacking[0]!r}."
        )
    codes, labels = pd.factorize(found.astype(str))
    return [str(label) for label in labels], np.asarray(codes)


def group_priors(
    prior: MarkerGroups, labels: list[str], group: np.ndarray, name: str
) -> list[tuple[str, np.ndarray, Any]]:
    """Label, positions and prior of each group of markers that a mapping names."""
    assert isinstance(prior.priors, Mapping)
    named = {str(key): value for key, value in prior.priors.items() if key != "*"}
    unknown = sorted(set(named) - set(labels) - {"rest"})
    if unknown:
        raise InputError(
            f"The priors of {name} name group {unknown[0]!r}, which no marker is in "
            f"({', '.join(labels[:10])})."
        )
    rest = [label for label in labels if label not in named]
    if rest and "*" not in prior.priors and "rest" not in named:
        raise InputError(
            f"The priors of {name} leave out group {rest[0]!r}; name it, or give '*' for the rest."
        )
    groups = [
        (label, np.flatnonzero(group == labels.index(label)), value)
        for label, value in named.items()
        if label != "rest"
    ]
    if rest:
        codes = [labels.index(label) for label in rest]
        value = prior.priors["*"] if "*" in prior.priors else named["rest"]
        groups.append(("rest", np.flatnonzero(np.isin(group, codes)), value))
    return groups

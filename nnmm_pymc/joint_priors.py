"""Priors of the effects of a marker on several traits together, as values without PyMC."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnmm_pymc.alphabet import MarkerPrior
from nnmm_pymc.errors import InputError

__all__ = ["JointBayesC", "JointPrior", "JointRRBLUP", "pattern_matrix"]

#: Traits up to which all patterns are allowed where none are given.
MOST_PATTERNS = 6


@dataclass(frozen=True, repr=False)
class JointPrior(MarkerPrior):
    """Priors of the effects of a marker on several traits together: `JointMarkerEffects`.

    Parameters
    ----------
    covariance : matrix, HalfTCovariance or callable, optional
        Of the effects of one marker on all traits. By default ``HalfTCovariance(df=2)``, of which
        the scales squared are the marker variances of `MarkerPrior`: weak and proper for any number
        of traits.
    """

    inclusion: Any = field(default=None, init=False)
    slab_variance: Any = field(default=None, init=False)
    classes: bool = field(default=False, init=False)
    covariance: Any = None


@dataclass(frozen=True, repr=False)
class JointRRBLUP(JointPrior):
    r"""Ridge regression of several traits: every marker has an effect on each, and these correlate.

    .. math:: b_j \sim N(0, G)

    Parameters
    ----------
    covariance
        G, as in `JointPrior`.

    References
    ----------
    Calus, Veerkamp (2011) Genet Sel Evol 43:26.
    """


@dataclass(frozen=True, repr=False)
class JointBayesC(JointPrior):
    r"""Selection of markers for several traits: a pattern says which of them a marker reaches.

    .. math:: P(d_j = d) = \Pi_d, \quad b_{jS} | d \sim N(0, G_{SS})

    for the traits S of pattern d; effects on other traits are zero.

    Parameters
    ----------
    pattern_probabilities : array, Prior or callable, optional
        :math:`\Pi` in the order of the patterns; ``Prior("Dirichlet", a=[1, 1, ...])`` by default.
    patterns : array of 0 and 1, optional
        A row for each pattern, a column for each trait. All :math:`2^T` by default, the first none
        and the last all; with more than 6 traits they must be given, such as none and all.
    trait_inclusion : number, Prior or callable, optional
        Instead of `pattern_probabilities`: inclusion probabilities of the traits, of which
        :math:`\Pi` is the product. The default, ``Prior("Beta", alpha=1, beta=1)``, for 5 and 6
        traits.
    covariance
        G, as in `JointPrior`.

    References
    ----------
    Cheng, Kizilkaya, Zeng, Garrick, Fernando (2018) Genetics 209:89; Jia, Jannink (2012) Genetics
    192:1513.
    """

    pattern_probabilities: Any = None
    patterns: Any = None
    trait_inclusion: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trait_inclusion is not None and (
            self.pattern_probabilities is not None or self.patterns is not None
        ):
            raise InputError(
                "JointBayesC: trait_inclusion stands for all patterns and their probabilities; "
                "give one or the other."
            )


def pattern_matrix(prior: JointBayesC, n_traits: int) -> np.ndarray:
    """Patterns of a prior, (D, T) bool: those given, or all 2^T, none first.

    Raises
    ------
    InputError
        There are too many, or they are not what patterns are.
    """
    if prior.patterns is None and n_traits > MOST_PATTERNS:
        raise InputError(
            f"JointBayesC: {n_traits} traits have too many patterns to look at all; give those "
            "that may be, such as patterns=[[0] * T, [1] * T]."
        )
    if prior.patterns is None:
        return (np.arange(2**n_traits)[:, None] >> np.arange(n_traits)) % 2 == 1
    patterns = np.asarray(prior.patterns, float)
    if patterns.ndim != 2 or patterns.shape[1] != n_traits or not np.isin(patterns, (0, 1)).all():
        raise InputError(
            f"JointBayesC: patterns must be rows of 0 and 1, one column for each of the {n_traits} "
            "traits."
        )
    if not patterns.any(axis=0).all() or len(np.unique(patterns, axis=0)) < len(patterns):
        raise InputError(
            "JointBayesC: patterns must all be different, and each trait in one of them at least."
        )
    return patterns > 0.5

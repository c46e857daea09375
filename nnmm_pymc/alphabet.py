"""The Bayesian alphabet: priors of marker effects as values that print, compare and hold no PyMC.

Each class says which inclusion probability and which slab variance a `MarkerEffects` distribution
gets. `None` asks for a default that is derived from the data when the model is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from nnmm_pymc.errors import InputError
from nnmm_pymc.priors import Prior, short

__all__ = [
    "GBLUP",
    "RRBLUP",
    "BayesA",
    "BayesB",
    "BayesC",
    "BayesL",
    "BayesR",
    "Horseshoe",
    "MarkerPrior",
]

_UNIFORM = Prior("Beta", alpha=1, beta=1)


@dataclass(frozen=True)
class MarkerPrior:
    r"""Prior of marker effects: zero with probability 1 - inclusion, else normal.

    .. math:: p(a_j) = (1 - \pi)\,\delta_0(a_j) + \pi\,N(a_j; 0, v)

    Parameters
    ----------
    inclusion : number, array, Prior or callable, optional
        Probability that a marker HAS an effect (JWAS's pi is the probability that it has none).
    slab_variance : number, array, Prior or callable, optional
        Variance of the effects that are not zero.
    classes : bool
        If true both have a last axis that runs over several normals of the slab.

    Notes
    -----
    Anything with a method ``create_variable(name)`` is also accepted, and a function
    ``f(name)`` or ``f(name, dims)`` that is called inside the model and returns a PyMC variable or
    expression; `dims` is ``(column dim,)``, for a variance of each marker ``(marker dim, column
    dim)``. A vector with one value a marker serves all columns.

    A missing `slab_variance` gets a scaled inverse chi-square prior with 5 degrees of freedom, as
    an InverseGamma(5/2, 3 V/2), whose mean is

    .. math:: V = \tfrac12 \operatorname{var}(y) / (T\, \bar\pi \sum_j \operatorname{var}(x_j))

    with T the number of genetic terms of the equation and :math:`\bar\pi` the prior mean of the
    inclusion probability: a heritability of one half, shared by the terms (the sum of var(x) is the
    usual sum of 2pq under Hardy-Weinberg equilibrium).

    An effect is drawn with its inclusion integrated out (`nnmm_pymc.kernels.markers`). Then, with m
    effects that are not zero, :math:`\pi | \cdot \sim Beta(\alpha + m, \beta + p - m)` and
    :math:`v | \cdot \sim InverseGamma(\alpha + m/2, \beta + \sum a_j^2/2)`.
    """

    inclusion: Any = None
    slab_variance: Any = None
    classes: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        for f in fields(self):
            _check_number(f.name, getattr(self, f.name))

    def __repr__(self) -> str:
        shown = [
            f"{f.name}={short(getattr(self, f.name))}"
            for f in fields(self)
            if f.init and getattr(self, f.name) is not None and getattr(self, f.name) is not False
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if name == "inclusion" and not 0.0 <= value <= 1.0:
        raise InputError(f"inclusion={value} is no probability; give 0 to 1.")
    if name != "inclusion" and not value > 0.0:
        raise InputError(f"{name}={value} must be positive.")


@dataclass(frozen=True, repr=False)
class RRBLUP(MarkerPrior):
    """Ridge regression: every marker has an effect, all of one variance.

    Parameters
    ----------
    slab_variance : number, Prior or callable, optional
        Variance of a marker effect; one per omic or trait by default.

    References
    ----------
    Meuwissen, Hayes, Goddard (2001) Genetics 157:1819.
    """

    inclusion: Any = field(default=1.0, init=False)
    classes: bool = field(default=False, init=False)


@dataclass(frozen=True, repr=False)
class GBLUP(MarkerPrior):
    r"""Genetic values with a genomic relationship matrix: ridge regression on its eigenvectors.

    .. math:: g \sim N(0, G \sigma_g^2), \quad G = Z Z' / \sum_j \operatorname{var}(x_j)
        = U D U', \quad g = U D^{1/2} b, \quad b \sim N(0, \sigma_g^2 I)

    with Z the centred dosages (VanRaden's first method, its 2 sum pq written as the sum of the
    variances). The same model as `RRBLUP` with :math:`\sigma_g^2 = v \sum_j var(x_j)`; sampling
    costs n effects instead of p. Marker effects are drawn from b and their prior after the fit.
    On a layer from `read_relationship` the given matrix is G.

    Parameters
    ----------
    genetic_variance : number, Prior or callable, optional
        :math:`\sigma_g^2`; by default the scaled inverse chi-square prior of `MarkerPrior` times
        the sum of the marker variances: mean half the variance of the column.

    References
    ----------
    VanRaden (2008) J Dairy Sci 91:4414; de los Campos et al. (2010) Genet Res 92:295.
    """

    inclusion: Any = field(default=1.0, init=False)
    slab_variance: Any = field(default=None, init=False)
    classes: bool = field(default=False, init=False)
    genetic_variance: Any = None


@dataclass(frozen=True, repr=False)
class BayesC(MarkerPrior):
    """A spike at zero and one normal: selection of markers.

    Parameters
    ----------
    inclusion : number, Prior or callable, optional
        Probability that a marker has an effect; default ``Prior("Beta", alpha=1, beta=1)``, learned
        for each omic or trait (BayesC-pi); with ``dims=()`` all share one. A number fixes it.
    slab_variance : number, Prior or callable, optional
        Variance of the effects that are not zero; one per omic or trait by default.

    References
    ----------
    Habier, Fernando, Kizilkaya, Garrick (2011) BMC Bioinformatics 12:186.
    """

    inclusion: Any = _UNIFORM
    classes: bool = field(default=False, init=False)


@dataclass(frozen=True, repr=False)
class BayesA(MarkerPrior):
    r"""Every marker has an effect with a variance of its own: a t distribution.

    .. math:: a_j \sim N(0, v_j), \quad v_j = S u_j, \quad u_j \sim InverseGamma(\nu/2, \nu/2)

    so that :math:`v_j` is scaled inverse chi-square and :math:`a_j` is t with :math:`\nu` degrees
    of freedom and squared scale S. The full conditional of :math:`u_j` is
    :math:`InverseGamma(\nu/2 + 1/2, \nu/2 + a_j^2/(2S))`; that of S, with an inverse gamma prior
    and m effects that are not zero, :math:`InverseGamma(\alpha + m/2, \beta + \sum
    a_j^2/(2u_j))`; :math:`\nu` is slice-sampled.

    Parameters
    ----------
    slab_variance : Prior or callable, optional
        Prior of each marker's variance :math:`v_j`, instead of `df` and `scale`.
    df : number, Prior or callable
        Degrees of freedom :math:`\nu`.
    scale : number, Prior or callable, optional
        S; by default a scaled inverse chi-square prior with 5 degrees of freedom and mean
        :math:`V (5 - 2)/5`, which with :math:`\nu = 5` makes V, the marker variance of
        `MarkerPrior`, the mean of :math:`v_j`. JWAS fixes it there: give the number.

    References
    ----------
    Meuwissen, Hayes, Goddard (2001) Genetics 157:1819; Gianola (2013) Genetics 194:573.
    """

    inclusion: Any = field(default=1.0, init=False)
    classes: bool = field(default=False, init=False)
    df: Any = 5.0
    scale: Any = None


@dataclass(frozen=True, repr=False)
class BayesB(BayesA):
    """A spike at zero and a t distribution: selection of markers with variances of their own.

    Parameters
    ----------
    inclusion : number, Prior or callable, optional
        As in `BayesC`.
    slab_variance, df, scale
        As in `BayesA`.

    References
    ----------
    Meuwissen, Hayes, Goddard (2001) Genetics 157:1819.
    """

    inclusion: Any = _UNIFORM


@dataclass(frozen=True, repr=False)
class BayesL(MarkerPrior):
    r"""Bayesian lasso: effects are Laplace given the residual variance.

    .. math:: a_j \sim N(0, \sigma_e^2 \tau_j^2), \quad \tau_j^2 \sim Exponential(\lambda^2/2)

    The full conditional of :math:`\tau_j^2` is generalised inverse Gaussian,
    :math:`GIG(1/2, a_j^2/\sigma_e^2, \lambda^2)`; that of :math:`\lambda^2` a Gamma.

    Parameters
    ----------
    lambda_squared : number, Prior or callable, optional
        :math:`\lambda^2`; one per omic or trait. By default Gamma(1.1, 0.1/L), with its mode at
        :math:`L = 2 (1 - h^2)/h^2 \sum_j var(x_j)`, which gives the terms of the equation a
        heritability of one half together (as in BGLR).

    References
    ----------
    Park, Casella (2008) JASA 103:681; de los Campos et al. (2009) Genetics 182:375.
    """

    inclusion: Any = field(default=1.0, init=False)
    slab_variance: Any = field(default=None, init=False)
    classes: bool = field(default=False, init=False)
    lambda_squared: Any = None


@dataclass(frozen=True, repr=False)
class BayesR(MarkerPrior):
    r"""A spike at zero and several normals: markers without, with small and with large effects.

    .. math:: a_j \sim \pi_0 \delta_0 + \sum_c \pi_c N(0, \gamma_c v)

    Class and effect of a marker are drawn together, the effect integrated out of the draw of the
    class. Given the classes, with :math:`m_c` markers each, :math:`\pi | \cdot \sim
    Dirichlet(\alpha + m)` and :math:`v | \cdot \sim InverseGamma(\alpha + \sum_{c>0} m_c / 2,
    \beta + \sum a_j^2 / (2 \gamma_{c_j}))`.

    Parameters
    ----------
    class_probabilities : array, Prior or callable, optional
        :math:`\pi`, the spike's probability first; ``Prior("Dirichlet", a=[1, 1, ...])`` for each
        omic or trait by default. With few loci that hardly tells v from 10 v with all effects one
        class lower: a guess such as ``a=[96, 4, 2, 2]`` for 1,000 markers then mixes and predicts
        better, and for a trait of many loci worse.
    class_variances : tuple of float
        :math:`\gamma`: variances of the normals relative to `slab_variance`.
    slab_variance : number, Prior or callable, optional
        v. The default prior is that of `MarkerPrior` with :math:`\bar\pi` replaced by the prior
        mean of :math:`\sum_c \pi_c \gamma_c`.

    References
    ----------
    Erbe et al. (2012) J Dairy Sci 95:4114; Moser et al. (2015) PLoS Genet 11:e1004969.
    """

    inclusion: Any = field(default=None, init=False)
    classes: bool = field(default=True, init=False)
    class_probabilities: Any = None
    class_variances: tuple[float, ...] = (0.01, 0.1, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        values = self.class_variances
        several = isinstance(values, Sequence | np.ndarray) and not isinstance(values, str)
        if not several or not all(isinstance(v, int | float) and v > 0 for v in values):
            raise InputError(f"class_variances={values!r} must be positive numbers.")
        object.__setattr__(self, "class_variances", tuple(float(v) for v in values))


@dataclass(frozen=True, repr=False)
class Horseshoe(MarkerPrior):
    r"""Regularised horseshoe: most effects close to zero, none larger than a slab allows.

    .. math:: a_j \sim N(0, v_j), \quad v_j = \frac{c^2 \tau^2 \lambda_j^2}{c^2 + \tau^2
        \lambda_j^2}, \quad \lambda_j \sim C^+(0, 1), \quad \tau \sim C^+(0, \tau_0)

    :math:`\lambda_j`, :math:`\tau` and :math:`c^2` are slice-sampled.

    Parameters
    ----------
    n_causal : number, optional
        Guess of the number of markers with an effect, p / 100 (at least 1) by default. It sets
        :math:`\tau_0 = \frac{m}{p - m} \sqrt{\operatorname{var}(y) / (2 n \bar s^2)}` with
        :math:`\bar s^2` the mean variance of a marker.
    global_scale : number, Prior or callable, optional
        :math:`\tau`, instead.
    slab_variance : number, Prior or callable, optional
        :math:`c^2`, the variance of a large effect; by default InverseGamma(2, 2 s^2), a t slab of
        4 degrees of freedom, with s^2 the marker variance of `MarkerPrior` at
        :math:`\bar\pi = m / p`.

    References
    ----------
    Carvalho, Polson, Scott (2010) Biometrika 97:465; Piironen, Vehtari (2017) Electron J Stat
    11:5018, equations 2.8 and 3.12.
    """

    inclusion: Any = field(default=1.0, init=False)
    classes: bool = field(default=False, init=False)
    n_causal: float | None = None
    global_scale: Any = None

"""What is believed: priors as values that print, compare and hold no PyMC.

`Prior` names any PyMC distribution. The classes of the Bayesian alphabet say which inclusion
probability and which slab variance a `MarkerEffects` distribution gets; `None` asks for a default
that is derived from the data when the model is built (see `MarkerPrior`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from nnmm_pymc.errors import InputError

__all__ = ["RRBLUP", "BayesC", "MarkerPrior", "Prior"]


@dataclass(frozen=True, init=False)
class Prior:
    """Any PyMC distribution, named with its parameters.

    Parameters
    ----------
    name : str
        Name of a distribution in ``pymc``, such as ``"Normal"`` or ``"Beta"``.
    dims : str or tuple of str, optional
        Dims of the variable. The default depends on where the prior stands: one value per column
        (omic or trait) for most terms; ``dims=()`` shares one value among all columns.
    **parameters
        Numbers, arrays or further `Prior` objects.

    Examples
    --------
    >>> Prior("Normal", mu=0, sigma=Prior("HalfNormal", sigma=1))
    Prior("Normal", mu=0, sigma=Prior("HalfNormal", sigma=1))
    """

    name: str
    parameters: dict[str, Any] = field(hash=False)
    dims: tuple[str, ...] | None

    def __init__(self, name: str, *, dims: str | tuple[str, ...] | None = None, **parameters: Any):
        if not isinstance(name, str):
            raise InputError(f"Prior needs the name of a PyMC distribution, not {name!r}.")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "parameters", parameters)
        object.__setattr__(self, "dims", (dims,) if isinstance(dims, str) else dims)

    def __repr__(self) -> str:
        parts = [f'"{self.name}"', *(f"{k}={_short(v)}" for k, v in self.parameters.items())]
        if self.dims is not None:
            parts.append(f"dims={self.dims!r}")
        return f"Prior({', '.join(parts)})"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


@dataclass(frozen=True)
class MarkerPrior:
    r"""Prior of marker effects: zero with probability 1 - inclusion, else normal.

    Parameters
    ----------
    inclusion : number, array, Prior or callable, optional
        Probability that a marker HAS an effect (JWAS's pi is the probability that it has none).
    slab_variance : number, array, Prior or callable, optional
        Variance of the effects that are not zero.

    Notes
    -----
    Anything with a method ``create_variable(name)`` is also accepted, and a function
    ``f(name)`` or ``f(name, dims)`` that is called inside the model and returns a PyMC variable or
    expression; `dims` is ``(marker dim, column dim)``.

    A missing `slab_variance` gets a scaled inverse chi-square prior with 5 degrees of freedom, as
    an InverseGamma(5/2, 3 V/2), whose mean is

    .. math:: V = \tfrac12 \operatorname{var}(y) / (T\, \bar\pi \sum_j \operatorname{var}(x_j))

    with T the number of genetic terms of the equation and :math:`\bar\pi` the prior mean of the
    inclusion probability: a heritability of one half, shared by the terms (the sum of var(x) is the
    usual sum of 2pq under Hardy-Weinberg equilibrium).
    """

    inclusion: Any = None
    slab_variance: Any = None

    def __post_init__(self) -> None:
        number = isinstance(self.inclusion, int | float)
        if number and not 0.0 <= self.inclusion <= 1.0:
            raise InputError(f"inclusion={self.inclusion} is no probability; give 0 to 1.")
        if isinstance(self.slab_variance, int | float) and self.slab_variance <= 0.0:
            raise InputError(f"slab_variance={self.slab_variance} must be positive.")

    #: Whether `slab_variance` is the prior of each marker's own variance, not of a shared one.
    own_variances: ClassVar[bool] = False

    def __repr__(self) -> str:
        shown = [
            f"{f.name}={_short(getattr(self, f.name))}"
            for f in fields(self)
            if getattr(self, f.name) is not None
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


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


@dataclass(frozen=True, repr=False)
class BayesC(MarkerPrior):
    """A spike at zero and one normal: selection of markers.

    Parameters
    ----------
    inclusion : number, Prior or callable, optional
        Probability that a marker has an effect; default ``Prior("Beta", alpha=1, beta=1)``, learned
        for each omic or trait (BayesC-pi). A number fixes it.
    slab_variance : number, Prior or callable, optional
        Variance of the effects that are not zero; one per omic or trait by default.

    References
    ----------
    Habier, Fernando, Kizilkaya, Garrick (2011) BMC Bioinformatics 12:186.
    """

    inclusion: Any = Prior("Beta", alpha=1, beta=1)


@dataclass(frozen=True, repr=False)
class BayesA(MarkerPrior):
    r"""Every marker has an effect with a variance of its own: a t distribution.

    .. math:: a_j \sim N(0, v_j), \quad v_j \sim InverseGamma(\nu/2, \beta)

    so that :math:`a_j` is t with :math:`\nu` degrees of freedom and scale
    :math:`\sqrt{2\beta/\nu}`. The full conditional of :math:`v_j` is
    :math:`InverseGamma(\nu/2 + 1/2, \beta + a_j^2/2)`.

    Parameters
    ----------
    slab_variance : Prior or callable, optional
        Prior of each marker's variance. By default :math:`\nu = 5` and :math:`\beta` such that
        the prior mean of :math:`v_j` is the marker variance of `MarkerPrior` (as in JWAS). To learn
        the scale, give ``Prior("InverseGamma", alpha=2.5, beta=Prior("Gamma", ...))``.

    References
    ----------
    Meuwissen, Hayes, Goddard (2001) Genetics 157:1819.
    """

    inclusion: Any = field(default=1.0, init=False)
    own_variances: ClassVar[bool] = True


@dataclass(frozen=True, repr=False)
class BayesB(MarkerPrior):
    """A spike at zero and a t distribution: selection of markers with variances of their own.

    Parameters
    ----------
    inclusion : number, Prior or callable, optional
        As in `BayesC`.
    slab_variance : Prior or callable, optional
        As in `BayesA`.

    References
    ----------
    Meuwissen, Hayes, Goddard (2001) Genetics 157:1819.
    """

    inclusion: Any = Prior("Beta", alpha=1, beta=1)
    own_variances: ClassVar[bool] = True


@dataclass(frozen=True, repr=False)
class BayesL(MarkerPrior):
    r"""Bayesian lasso: effects are Laplace given the residual variance.

    .. math:: a_j \sim N(0, \sigma_e^2 \tau_j^2), \quad \tau_j^2 \sim Exponential(\lambda^2/2)

    The full conditional of :math:`\tau_j^2` is generalised inverse Gaussian,
    :math:`GIG(1/2, a_j^2/\sigma_e^2, \lambda^2)`.

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
    lambda_squared: Any = None

"""What is believed of one parameter: any PyMC distribution as a value that prints and compares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nnmm_pymc.errors import InputError

__all__ = ["CovariancePrior", "Prior", "short"]


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
        parts = [f'"{self.name}"', *(f"{k}={short(v)}" for k, v in self.parameters.items())]
        if self.dims is not None:
            parts.append(f"dims={self.dims!r}")
        return f"Prior({', '.join(parts)})"


def short(value: Any) -> str:
    """A value in a few characters."""
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


@dataclass(frozen=True)
class CovariancePrior:
    """Half-t standard deviations and weak correlations: `nnmm_pymc.HalfTCovariance` without a name.

    Parameters
    ----------
    scale : number or array, optional
        Scales A of the standard deviations; from the data by default.
    df : number
        Degrees of freedom; with 2 the correlations are uniform.
    """

    scale: Any = None
    df: float = 2.0

    def __post_init__(self) -> None:
        if not self.df > 0.0:
            raise InputError(f"HalfTCovariance: df={self.df} must be positive.")

    def __repr__(self) -> str:
        shown = [
            f"{k}={short(v)}" for k, v in (("scale", self.scale), ("df", self.df)) if v is not None
        ]
        return f"HalfTCovariance({', '.join(shown)})"

"""From a prior as a value to a variable of the open PyMC model."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors
from pytensor.tensor.random.op import RandomVariable

from nnmm_pymc.covariance import HalfTCovariance
from nnmm_pymc.errors import InputError
from nnmm_pymc.priors import CovariancePrior, Prior

__all__ = ["check_shape", "create", "create_covariance"]


def create(prior: Any, name: str, dims: Sequence[str] = ()) -> Any:
    """Turn a prior into a variable called `name`.

    Parameters
    ----------
    prior : number, array, Prior, object with ``create_variable(name)``, or callable
        A callable is called as ``f(name)``, or ``f(name, dims)`` if it takes two arguments.
    name : str
    dims : sequence of str
        Dims of the variable unless the `Prior` has its own.

    Returns
    -------
    PyMC variable, or the number itself
    """
    if isinstance(prior, Prior):
        return _from_prior(prior, name, dims)
    if isinstance(prior, Variable):
        return _checked(prior, name)
    if isinstance(prior, int | float | np.ndarray | list | tuple):
        return pt.as_tensor(np.asarray(prior, dtype=float))
    if hasattr(prior, "create_variable"):
        return prior.create_variable(name)
    if callable(prior):
        n_arguments = len(inspect.signature(prior).parameters)
        value = prior(name, tuple(dims)) if n_arguments > 1 else prior(name)
        if value is None:
            raise InputError(f"The prior of {name!r} is a function that returns nothing.")
        return value
    raise InputError(
        f"The prior of {name!r} is {prior!r}; give a number, a Prior, an object with "
        "create_variable(name), or a function that returns a PyMC variable."
    )


def create_covariance(prior: Any, name: str, dims: tuple[str, str]) -> Any:
    """Turn the prior of a covariance matrix into a variable called `name`.

    Parameters
    ----------
    prior : CovariancePrior, matrix, or callable as in `create`
    name : str
    dims : (row dim, column dim)
    """
    model = pm.modelcontext(None)
    length = len(model.coords[dims[0]])
    if isinstance(prior, CovariancePrior):
        scale = np.broadcast_to(np.asarray(prior.scale, float), (length,))
        return HalfTCovariance(name, scale, prior.df, dims=dims)
    value = create(prior, name, dims)
    if value.ndim != 2:
        raise InputError(
            f"The prior of {name!r} must be of a matrix, {length} by {length}: HalfTCovariance(), "
            "numbers, or a function that returns one."
        )
    return value if name in model.named_vars else pm.Deterministic(name, value, dims=dims)


def _from_prior(prior: Prior, name: str, dims: Sequence[str]) -> Any:
    found = getattr(pm, prior.name, None)
    if not (inspect.isclass(found) and issubclass(found, pm.Distribution)):
        raise InputError(f"The prior of {name!r} names {prior.name!r}, which pymc does not have.")
    distribution: Any = found
    signature = inspect.signature(distribution.dist)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    known = {p.name for p in signature.parameters.values() if p.kind not in variadic}
    wrong = sorted(set(prior.parameters) - known)
    # PyMC ignores a keyword it does not know, and would fit another prior than the one written.
    if wrong and known:
        raise InputError(
            f"The prior of {name!r}: {prior.name} has no parameter {wrong[0]!r}; it has "
            f"{', '.join(sorted(known))}."
        )
    parameters = {
        key: create(value, f"{name}_{key}", ()) if isinstance(value, Prior) else value
        for key, value in prior.parameters.items()
    }
    own: Any = tuple(dims) if prior.dims is None else prior.dims
    known_dims = pm.modelcontext(None).coords
    unknown = [d for d in own if d not in known_dims]
    if unknown:
        raise InputError(
            f"The prior of {name!r} has the dim {unknown[0]!r}, which the model does not have; its "
            f"dims are {', '.join(known_dims)}."
        )
    try:
        if own:
            _check_parameters(distribution, parameters, name, own)
        return distribution(name, **parameters, dims=own or None)
    except TypeError as error:
        raise InputError(f"The prior of {name!r}, {prior!r}, cannot be built: {error}.") from None


def _check_parameters(
    distribution: Any, parameters: dict[str, Any], name: str, dims: Sequence[str]
) -> None:
    try:
        value = distribution.dist(**parameters)
    except ValueError:  # it takes its shape from dims alone
        return
    check_shape(value, name, dims)


def check_shape(value: Any, name: str, dims: Sequence[str]) -> None:
    """Refuse a prior that is not of the shape of its dims, as far as it says which it has.

    Raises
    ------
    InputError
    """
    coords = pm.modelcontext(None).coords
    shape = tuple(len(coords[dim]) for dim in dims)
    own = tuple(1 if length is None else length for length in value.type.shape)
    try:
        fits = np.broadcast_shapes(own, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise InputError(
            f"The prior of {name!r} has shape {own} where {shape} belongs ({', '.join(dims)}); "
            "give one value for all, or one for each."
        )


def _checked(value: Variable, name: str) -> Variable:
    """A variable of the model, or a function of such."""
    known = pm.modelcontext(None).basic_RVs
    for v in ancestors([value]):
        if v.owner is not None and isinstance(v.owner.op, RandomVariable) and v not in known:
            raise InputError(
                f"The prior of {name!r} is a PyMC distribution without a name; give "
                'Prior("Normal", mu=0, sigma=1), or a function of a name that returns the variable.'
            )
    return value

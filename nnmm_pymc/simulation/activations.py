"""The function g through which omics act on traits: one by name, or the user's own, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnmm_pymc.activations import NUMPY_ACTIVATIONS
from nnmm_pymc.errors import InputError

Array = NDArray[np.float64]


def resolve_activation(activation: Any) -> tuple[Callable[[Array], Array], str]:
    """The elementwise function and its name; a user's own is checked at every call."""
    if isinstance(activation, str) and activation in NUMPY_ACTIVATIONS:
        return NUMPY_ACTIVATIONS[activation], activation
    if not callable(activation):
        raise InputError(
            f"activation is {activation!r}; give {', '.join(NUMPY_ACTIVATIONS)} or a function."
        )
    name = getattr(activation, "__name__", type(activation).__name__)

    def checked(z: Array) -> Array:
        values = np.asarray(activation(z), dtype=np.float64)
        if values.shape != z.shape or not np.isfinite(values).all():
            raise InputError(
                f"activation {name} does not return one finite number for each element of its "
                "array; write it with NumPy functions that act elementwise."
            )
        return values

    return checked, name

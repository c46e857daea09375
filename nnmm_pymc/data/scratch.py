"""Arrays in memory or, where they would not fit, in files without a name that vanish with them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np

from nnmm_pymc.errors import InputError

__all__ = ["empty", "scratch_folder", "taken_columns", "taken_rows"]

#: Bytes copied at a time from one file to another.
_AT_ONCE = 2**26


def scratch_folder(scratch: str | os.PathLike[str] | None) -> Path | None:
    """The folder, if one is given; it must be there and may be written.

    Raises
    ------
    InputError
    """
    if scratch is None:
        return None
    folder = Path(scratch)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            f"scratch={str(scratch)!r}: this is no folder that may be written; name another one."
        )
    return folder


def empty(shape: tuple[int, ...], dtype: Any, scratch: Path | None) -> np.ndarray:
    """An array of zeros: on disk in the folder `scratch`, or in memory without one.

    Processes forked later share it, as they share memory.
    """
    if scratch is None or not all(shape):
        return np.zeros(shape, dtype)
    # The map outlives the file that it was made from.
    with tempfile.TemporaryFile(dir=scratch) as file:
        return np.memmap(cast(Any, file), dtype, "w+", shape=shape).view(np.ndarray)


def taken_rows(array: np.ndarray, where: np.ndarray, scratch: Path | None) -> np.ndarray:
    """Some rows of a (p, n) array, in this order."""
    if scratch is None:
        return array[where]
    out = empty((len(where), array.shape[1]), array.dtype, scratch)
    step = max(1, _AT_ONCE // max(1, array.shape[1] * array.itemsize))
    for start in range(0, len(where), step):
        out[start : start + step] = array[where[start : start + step]]
    return out


def taken_columns(array: np.ndarray, where: np.ndarray, scratch: Path | None) -> np.ndarray:
    """Some columns of a (p, n) array, in this order."""
    if scratch is None:
        return np.take(array, where, axis=1)
    out = empty((len(array), len(where)), array.dtype, scratch)
    step = max(1, _AT_ONCE // max(1, array.shape[1] * array.itemsize))
    for start in range(0, len(array), step):
        np.take(array[start : start + step], where, axis=1, out=out[start : start + step])
    return out

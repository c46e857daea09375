"""States on disk: JSON for the structure, NumPy's format for the arrays, nothing that is executed.

A block is a length and a checksum, then the structure and the arrays. Numbers come back with the
same bits and types, which a chain needs to go on as if it had not stopped.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from dataclasses import fields, is_dataclass, replace
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np

__all__ = ["DamagedError", "read_block", "rebuild", "write_block"]

# Length and CRC-32 of what follows.
HEADER = struct.Struct("<QI")


class DamagedError(Exception):
    """A block that is cut short, altered, or holds what no block does."""


class _State(dict[str, Any]):
    """Fields of a dataclass, which `rebuild` puts into one of the same class."""


def write_block(file: BinaryIO, value: Any) -> None:
    """Append a block: numbers, text, arrays and dataclasses of these, in lists, tuples and dicts.

    Raises
    ------
    TypeError
        If there is anything else in `value`.
    """
    arrays: list[np.ndarray] = []
    structure = json.dumps(_encode(value, arrays)).encode()
    body = BytesIO()
    for array in (np.frombuffer(structure, np.uint8), *arrays):
        np.save(body, array, allow_pickle=False)
    with body.getbuffer() as content:
        file.write(HEADER.pack(len(content), zlib.crc32(content)))
        file.write(content)


def read_block(file: BinaryIO) -> Any:
    """Read the next block; dataclasses come back as their fields, to be given to `rebuild`.

    Raises
    ------
    DamagedError
    """
    header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        raise DamagedError
    length, checksum = HEADER.unpack(header)
    # Nothing has the checksum 0, so zeros would pass; a damaged length may be more than memory.
    if not 0 < length <= _left(file):
        raise DamagedError
    content = file.read(length)
    if len(content) < length or zlib.crc32(content) != checksum:
        raise DamagedError
    body, arrays = BytesIO(content), []
    try:
        while body.tell() < length:
            arrays.append(np.load(body, allow_pickle=False))
        return _decode(json.loads(arrays[0].tobytes()), arrays[1:])
    # Python objects among the arrays too: loading one runs code.
    except (ValueError, TypeError, LookupError, AttributeError, EOFError) as error:
        raise DamagedError from error


def _left(file: BinaryIO) -> int:
    """Bytes behind the place where the file is."""
    here = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(here)
    return end - here


def rebuild(like: Any, saved: Any) -> Any:
    """A state of the class and layout of `like` with the values that `read_block` returned."""
    if isinstance(saved, _State):
        changes = {name: rebuild(getattr(like, name), value) for name, value in saved.items()}
        return replace(like, **changes)
    if isinstance(saved, tuple) and hasattr(like, "_make"):
        return like._make(saved)
    return saved


def _encode(value: Any, arrays: list[np.ndarray]) -> Any:
    # NumPy's float64 is a Python float too, but behaves in its own way.
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return {"scalar": value.dtype.str, "value": value.item()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcSU":
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, list):
        return [_encode(v, arrays) for v in value]
    if isinstance(value, tuple):
        return {"tuple": [_encode(v, arrays) for v in value]}
    if isinstance(value, dict):
        return {"dict": [[_encode(k, arrays), _encode(v, arrays)] for k, v in value.items()]}
    if is_dataclass(value):
        kept = {f.name: getattr(value, f.name) for f in fields(value) if _is_kept(value, f)}
        return {"state": {name: _encode(v, arrays) for name, v in kept.items()}}
    raise TypeError(f"{type(value).__name__} cannot be stored")


def _is_kept(state: Any, field: Any) -> bool:
    """PyMC's frozen fields are as the step was made, but for arrays that a chain may change."""
    frozen = field.metadata.get("frozen", False)
    return not frozen or isinstance(getattr(state, field.name), np.ndarray)


def _decode(code: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(code, list):
        return [_decode(v, arrays) for v in code]
    if not isinstance(code, dict):
        return code
    if "scalar" in code:
        return np.dtype(code["scalar"]).type(code["value"])
    if "array" in code:
        return arrays[code["array"]]
    if "tuple" in code:
        return tuple(_decode(v, arrays) for v in code["tuple"])
    if "dict" in code:
        return {_decode(k, arrays): _decode(v, arrays) for k, v in code["dict"]}
    return _State({name: _decode(v, arrays) for name, v in code["state"].items()})

"""Cells as numbers: one rule for all readers, so that none reads what another refuses."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from math import nan
from numbers import Real
from typing import Any

import numpy as np
from pandas.api.types import is_any_real_numeric_dtype, is_bool_dtype

#: Numbers as other countries write them: 1,5 and 1 000 and 1'000,5 and 1.000,5.
LOCAL_NUMBER = re.compile(
    r"[-+]?(?:\d+(?:[,'\s\u2019]\d+)+(?:[.,]\d+)?|\d{1,3}(?:\.\d{3})+,\d+)(?:[eE][-+]?\d+)?"
)
#: A number and its unit: 12 %, 3.5kg.
WITH_UNIT = re.compile(r"[-+]?\d+(?:[.,]\d+)?\s*([^\W\d_]+|%)")

#: Truth values as R, Python and Julia write them.
TRUTH = {"TRUE": 1.0, "True": 1.0, "true": 1.0, "FALSE": 0.0, "False": 0.0, "false": 0.0}


@lru_cache
def is_real(dtype: Any) -> bool:
    """Whether a column of this type holds real numbers or truth values."""
    return is_any_real_numeric_dtype(dtype) or is_bool_dtype(dtype)


def as_number(cell: object, missing: Collection[str]) -> float:
    """A cell as a number: NaN if it is missing, infinite if it is not a finite number."""
    if isinstance(cell, Real):
        return float(cell)
    text = str(cell).strip()
    try:
        # Python reads 0_1 as a number; here it is more likely a pair of alleles.
        return nan if text in missing else float(text.replace("_", "?"))
    except ValueError:
        return np.inf


def as_numbers(body: bytes, sep: bytes, missing: Collection[str]) -> np.ndarray:
    """The cells of a row of text, each as `as_number` has it; (cell,)."""
    cells = body.split(sep)
    absent = frozenset(text.encode() for text in missing)
    try:
        if b"_" not in body:
            return np.array([nan if cell in absent else float(cell) for cell in cells])
    except ValueError:
        pass  # one by one, then
    return np.array([as_number(cell.decode(), missing) for cell in cells])

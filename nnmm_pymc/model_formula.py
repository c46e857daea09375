"""Which formulas a file may hold: nothing in them may run as Python.

formulae would look a function that is not listed here up in Python.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from nnmm_pymc import activations
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import ACTIVATIONS

__all__ = ["check_formula"]

#: Functions of one word that a formula in a file may call.
FUNCTIONS = (*ACTIVATIONS, "scale", "center", "standardize", "C")
#: Calls of the functions of two words.
PAIR_CALL = re.compile(rf"\b({'|'.join(activations.FUNCTIONS)})\s*\(\s*\w+\s*,\s*\w+\s*\)")


def check_formula(formula: str, kinships: Sequence[str], where: str) -> None:
    """Allow names, operators, group terms, and calls of known functions and of `kinships` only.

    Raises
    ------
    InputError
        For anything else.
    """
    formula = PAIR_CALL.sub(r"\1", formula)
    for layer in kinships:
        formula = re.sub(rf"\b{re.escape(layer)}\s*\(\s*\w+\s*\)", layer, formula)
    odd = re.search(r"[^\w\s~+\-*:()|]", formula) or re.search(r"\)\s*\(", formula)
    if odd:
        raise InputError(
            f"{where}: {odd[0]!r} is not allowed in a file; use names, '+', '-', ':', '*', group "
            "terms and functions."
        )
    for function in re.findall(r"(\w+)\s*\(", formula):
        if function not in FUNCTIONS:
            raise InputError(
                f"{where}: function {function!r} is not allowed in a file; use "
                f"{', '.join(FUNCTIONS)}, of two omics {', '.join(activations.FUNCTIONS)}, and "
                "layers that the key 'kinships' names."
            )

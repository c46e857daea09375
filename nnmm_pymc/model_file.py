"""The TOML of a network without data: its tables to equations, and equations to its text.

Reading never executes code: priors are looked up by name, and a formula may call only the functions
listed here (formulae would look any other up in Python).
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pymc as pm

from nnmm_pymc import alphabet
from nnmm_pymc.alphabet import MarkerPrior
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import ACTIVATIONS, Equation
from nnmm_pymc.priors import Prior

__all__ = ["read_model", "write_model"]

FILE_KEYS = ("name", "summary", "references", "equation")
EQUATION_KEYS = ("formula", "priors", "family")
#: Functions that a formula in a file may call.
FUNCTIONS = (*ACTIVATIONS, "scale", "center", "standardize", "C")
MARKER_PRIORS = {
    name: value
    for name in alphabet.__all__
    if inspect.isclass(value := getattr(alphabet, name)) and issubclass(value, MarkerPrior)
}


def read_model(
    content: Mapping[str, Any], file: str
) -> tuple[str, str, tuple[str, ...], tuple[Equation, ...]]:
    """Name, summary, references and equations from the tables of a file called `file`.

    Raises
    ------
    InputError
        For an unknown key, prior, distribution or function; names the file and the key.
    """
    _check_keys(content, FILE_KEYS, file, "")
    for key in ("name", "summary"):
        if not isinstance(content.get(key), str):
            raise InputError(f"{file}: key {key!r} must be there and be a text.")
    references = content.get("references", [])
    if not isinstance(references, list) or not all(isinstance(r, str) for r in references):
        raise InputError(f"{file}: key 'references' must be a list of texts.")
    equations = content.get("equation")
    if not isinstance(equations, list) or not equations:
        raise InputError(f"{file}: there is no [[equation]]; a network needs at least one.")
    parsed = tuple(_equation(e, file, f"equation[{k}]") for k, e in enumerate(equations, start=1))
    return content["name"], content["summary"], tuple(references), parsed


def _check_keys(table: Any, known: Sequence[str], file: str, where: str) -> None:
    if not isinstance(table, dict):
        raise InputError(f"{file}: key {where!r} must be a table.")
    for key in table:
        if key not in known:
            place = f"{where}.{key}" if where else key
            choices = ", ".join(known) or "none"
            raise InputError(f"{file}: key {place!r} is not known; keys here are {choices}.")


def _equation(table: Any, file: str, where: str) -> Equation:
    _check_keys(table, EQUATION_KEYS, file, where)
    formula = table.get("formula")
    if not isinstance(formula, str):
        raise InputError(f"{file}: key '{where}.formula' must be there and be a text.")
    _check_formula(formula, file, where)
    given = table.get("priors", {})
    if not isinstance(given, dict):
        raise InputError(f"{file}: key '{where}.priors' must be a table.")
    priors = {k: _prior(v, file, f"{where}.priors.{k}", MARKER_PRIORS) for k, v in given.items()}
    try:
        return Equation(formula, priors=priors, family=table.get("family", "gaussian"))
    except InputError as error:
        raise InputError(f"{file}: {where}: {error}") from None


def _check_formula(formula: str, file: str, where: str) -> None:
    """Names, operators and calls of known functions only: nothing in it may run as Python."""
    odd = re.search(r"[^\w\s~+\-*:()]", formula) or re.search(r"\)\s*\(", formula)
    if odd:
        raise InputError(
            f"{file}: key '{where}.formula': {odd[0]!r} is not allowed in a file; use names, "
            "'+', '-', ':', '*' and functions."
        )
    for function in re.findall(r"(\w+)\s*\(", formula):
        if function not in FUNCTIONS:
            raise InputError(
                f"{file}: key '{where}.formula': function {function!r} is not allowed in a file; "
                f"functions are {', '.join(FUNCTIONS)}."
            )


def _prior(value: Any, file: str, where: str, classes: Mapping[str, type[MarkerPrior]]) -> Any:
    """A number, an array of numbers, or a table that names its prior."""
    if not isinstance(value, dict):
        return _number(value, file, where)
    name = value.get("prior")
    if not isinstance(name, str):
        raise InputError(f"{file}: key '{where}.prior' must name a prior, such as \"Normal\".")
    if name in classes:
        known = [f.name for f in fields(classes[name]) if f.init]
    else:
        known = [*_distribution_parameters(name, file, where, classes), "dims"]
    _check_keys(value, ["prior", *known], file, where)
    parameters = {
        key: _prior(part, file, f"{where}.{key}", {})
        for key, part in value.items()
        if key not in ("prior", "dims")
    }
    if name in classes:
        return classes[name](**parameters)
    return Prior(name, dims=_dims(value.get("dims"), file, where), **parameters)


def _distribution_parameters(
    name: str, file: str, where: str, classes: Mapping[str, Any]
) -> list[str]:
    distribution: Any = getattr(pm.distributions, name, None)
    known = inspect.isclass(distribution) and issubclass(distribution, pm.Distribution)
    if not known:
        kinds = f"{', '.join(classes)} or a distribution" if classes else "a distribution"
        raise InputError(f"{file}: key '{where}.prior': {name!r} is not {kinds} of PyMC.")
    parameters = inspect.signature(distribution.dist).parameters.values()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.kind not in variadic]


def _number(value: Any, file: str, where: str) -> Any:
    numbers = value if isinstance(value, list) else [value]
    if isinstance(value, list) and any(isinstance(v, list) for v in value):
        return [_number(v, file, where) for v in value]
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers):
        raise InputError(
            f"{file}: key {where!r} is {value!r}; give a number, a list of numbers, or a table "
            'such as { prior = "Normal", mu = 0, sigma = 1 }.'
        )
    return value


def _dims(value: Any, file: str, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise InputError(f"{file}: key '{where}.dims' must be a text or a list of texts.")
    return tuple(names)


def write_model(
    name: str, summary: str, references: Sequence[str], equations: Sequence[Equation], file: str
) -> str:
    """The text of a file called `file`; priors that were not given are left out.

    Raises
    ------
    InputError
        If an equation has connections, or a prior is a function or another object of Python.
    """
    head = {"name": name, "summary": summary, "references": list(references)}
    lines = [f"{key} = {_toml(value, file)}" for key, value in head.items()]
    for equation in equations:
        lines += _equation_lines(equation, file)
    return "\n".join(lines) + "\n"


def _equation_lines(equation: Equation, file: str) -> list[str]:
    if equation.connections is not None:
        raise InputError(
            f"Equation {equation.formula!r} has connections, which name markers or omics of its "
            "data and cannot be saved; save the network without them."
        )
    lines = ["", "[[equation]]", f"formula = {_toml(equation.formula, file)}"]
    if equation.family != "gaussian":
        lines.append(f"family = {_toml(equation.family, file)}")
    for term, prior in equation.priors.items():
        where = f"prior of {term!r} in {equation.formula!r}"
        lines.append(f"priors.{_key(term)} = {_toml(prior, f'{file}: {where}')}")
    return lines


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name, name)


def _toml(value: Any, where: str) -> str:
    """A value on one line of TOML."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, np.ndarray | np.generic):
        return _toml(value.tolist(), where)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(v, where) for v in value) + "]"
    if isinstance(value, Prior):
        parts = {"prior": value.name, **value.parameters}
        if value.dims is not None:
            parts["dims"] = list(value.dims)
    elif type(value) in MARKER_PRIORS.values():
        given = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
        parts = {"prior": type(value).__name__} | {k: v for k, v in given.items() if v is not None}
    else:
        raise InputError(
            f"{where}: {value!r} cannot be written to a file; give numbers or Prior objects."
        )
    return "{ " + ", ".join(f"{_key(k)} = {_toml(v, where)}" for k, v in parts.items()) + " }"

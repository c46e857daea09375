"""The TOML of a network without data: its tables to equations, and equations to its text.

Reading never executes code: priors are looked up by name, and a formula may call only the functions
that `nnmm_pymc.model_formula` lists.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import pymc as pm

from nnmm_pymc import activations, alphabet
from nnmm_pymc.alphabet import MarkerPrior
from nnmm_pymc.data import LatentNodes, latent
from nnmm_pymc.data.names import short
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import Equation
from nnmm_pymc.joint_priors import JointBayesC, JointRRBLUP
from nnmm_pymc.model_formula import check_formula
from nnmm_pymc.prior_groups import MarkerGroups
from nnmm_pymc.priors import CovariancePrior, Prior

if TYPE_CHECKING:
    from nnmm_pymc.registry import NetworkDescription

__all__ = ["MARKER_PRIORS", "read_model", "write_model"]

FILE_KEYS = ("name", "summary", "references", "latent", "partial", "kinships", "equation")
EQUATION_KEYS = ("formula", "priors", "family", "weights", "bounds", "residual")
#: Priors of marker effects by the name that a file calls them.
MARKER_PRIORS = {name: getattr(alphabet, name) for name in alphabet.__all__}
MARKER_PRIORS |= {"JointBayesC": JointBayesC, "JointRRBLUP": JointRRBLUP}
COVARIANCE_PRIORS = {"HalfTCovariance": CovariancePrior}


def read_model(content: Mapping[str, Any], file: str) -> dict[str, Any]:
    """Fields of a `NetworkDescription` from the tables of a file called `file`.

    Raises
    ------
    InputError
        For an unknown key, prior, distribution or function; names the file and the key.
    """
    _check_keys(content, FILE_KEYS, file, "")
    for key in ("name", "summary"):
        if not isinstance(content.get(key), str):
            raise InputError(f"{file}: key {key!r} must be there and be a text.")
    equations = content.get("equation")
    if not isinstance(equations, list) or not equations:
        raise InputError(f"{file}: there is no [[equation]]; a network needs at least one.")
    kinships = _texts(content, "kinships", file)
    parsed = tuple(
        _equation(e, kinships, file, f"equation[{k}]") for k, e in enumerate(equations, start=1)
    )
    partial = _texts(content, "partial", file)
    left_sides = ["+".join(e.left) for e in parsed]
    for name in partial:
        if name not in left_sides:
            raise InputError(
                f"{file}: key 'partial' names {name!r}, which is left of no equation; left sides "
                f"are {', '.join(left_sides)}."
            )
    return {
        "name": content["name"],
        "summary": content["summary"],
        "references": _texts(content, "references", file),
        "equations": parsed,
        "latent": _latent(content.get("latent", {}), file),
        "partial": partial,
        "kinships": kinships,
    }


def _texts(content: Mapping[str, Any], key: str, file: str) -> tuple[str, ...]:
    value = content.get(key, [])
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise InputError(f"{file}: key {key!r} must be a list of texts.")
    return tuple(value)


def _latent(table: Any, file: str) -> dict[str, LatentNodes]:
    """Layers of latent nodes: their number, or their names."""
    if not isinstance(table, dict):
        raise InputError(f"{file}: key 'latent' must be a table, such as {{ hidden = 3 }}.")
    nodes = {}
    for layer, value in table.items():
        where = f"{file}: key 'latent.{layer}'"
        named = isinstance(value, list) and value and all(isinstance(v, str) for v in value)
        if not named and (not isinstance(value, int) or isinstance(value, bool)):
            raise InputError(f"{where} is {value!r}; give the number of nodes or their names.")
        try:
            nodes[layer] = latent(value)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    return nodes


def _check_keys(table: Any, known: Sequence[str], file: str, where: str) -> None:
    if not isinstance(table, dict):
        raise InputError(f"{file}: key {where!r} must be a table.")
    for key in table:
        if key not in known:
            place = f"{where}.{key}" if where else key
            choices = ", ".join(known) or "none"
            raise InputError(f"{file}: key {place!r} is not known; keys here are {choices}.")


def _equation(table: Any, kinships: Sequence[str], file: str, where: str) -> Equation:
    _check_keys(table, EQUATION_KEYS, file, where)
    formula = table.get("formula")
    if not isinstance(formula, str):
        raise InputError(f"{file}: key '{where}.formula' must be there and be a text.")
    check_formula(formula, kinships, f"{file}: key '{where}.formula'")
    given = table.get("priors", {})
    if not isinstance(given, dict):
        raise InputError(f"{file}: key '{where}.priors' must be a table.")
    priors = {k: _term_prior(v, file, f"{where}.priors.{k}") for k, v in given.items()}
    try:
        family, weights = table.get("family", "gaussian"), table.get("weights")
        bounds = _texts(table, "bounds", file) or None
        if bounds is not None and len(bounds) != 2:
            raise InputError(f"{file}: key '{where}.bounds' must be two columns.")
        residual = table.get("residual", "independent")
        return Equation(
            formula, priors, family=family, weights=weights, bounds=bounds, residual=residual
        )
    except InputError as error:
        raise InputError(f"{file}: {where}: {error}") from None


def _term_prior(value: Any, file: str, where: str) -> Any:
    """The prior of a term: one, or a table of them by column or by group of markers."""
    if isinstance(value, dict) and "groups" in value:
        return _groups(value, file, where)
    if not _all_tables(value):
        return _prior(value, file, where, MARKER_PRIORS)
    return {
        column: (_groups if "groups" in prior else _marker_prior)(prior, file, f"{where}.{column}")
        for column, prior in value.items()
    }


def _groups(table: dict[str, Any], file: str, where: str) -> MarkerGroups:
    _check_keys(table, ("groups", "priors"), file, where)
    column, priors = table["groups"], table.get("priors")
    if not isinstance(column, str):
        raise InputError(f"{file}: key '{where}.groups' must name a column of the marker table.")
    if not _all_tables(priors):
        return MarkerGroups(column, _marker_prior(priors, file, f"{where}.priors"))
    by_group = {k: _marker_prior(v, file, f"{where}.priors.{k}") for k, v in priors.items()}
    return MarkerGroups(column, by_group)


def _marker_prior(table: Any, file: str, where: str) -> MarkerPrior:
    name = table.get("prior") if isinstance(table, dict) else None
    if not isinstance(name, str) or name not in MARKER_PRIORS:
        raise InputError(
            f"{file}: key '{where}.prior' must name a prior of marker effects: "
            f"{', '.join(MARKER_PRIORS)}."
        )
    return _prior(table, file, where, MARKER_PRIORS)


def _all_tables(value: Any) -> TypeGuard[dict[str, dict[str, Any]]]:
    tables = isinstance(value, dict) and all(isinstance(v, dict) for v in value.values())
    return bool(value) and tables


def _prior(value: Any, file: str, where: str, classes: Mapping[str, type[Any]]) -> Any:
    """A number, an array of numbers, or a table that names its prior."""
    if not isinstance(value, dict):
        return _number(value, file, where)
    classes = {**classes, **COVARIANCE_PRIORS}
    name = value.get("prior")
    if not isinstance(name, str):
        raise InputError(f"{file}: key '{where}.prior' must name a prior, such as \"Normal\".")
    if name in classes:
        known = [f.name for f in fields(classes[name]) if f.init]
    else:
        known = [*_distribution_parameters(name, file, where, classes), "dims"]
    _check_keys(value, ["prior", *known], file, where)
    parameters = {
        key: _flag(part, file, f"{where}.{key}")
        if key == "classes"
        else _prior(part, file, f"{where}.{key}", {})
        for key, part in value.items()
        if key not in ("prior", "dims")
    }
    if name in classes:
        try:
            return classes[name](**parameters)
        except InputError as error:
            raise InputError(f"{file}: key {where!r}: {error}") from None
    return Prior(name, dims=_dims(value.get("dims"), file, where), **parameters)


def _distribution_parameters(
    name: str, file: str, where: str, classes: Mapping[str, Any]
) -> list[str]:
    distribution: Any = getattr(pm.distributions, name, None)
    known = inspect.isclass(distribution) and issubclass(distribution, pm.Distribution)
    if not known:
        kinds = f"{', '.join(classes)} or a distribution" if classes else "a distribution"
        raise InputError(
            f"{file}: key '{where}.prior': {name!r} is not {kinds} of PyMC; check the name."
        )
    parameters = inspect.signature(distribution.dist).parameters.values()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.kind not in variadic]


def _flag(value: Any, file: str, where: str) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{file}: key {where!r} is {value!r}; give true or false.")
    return value


def _number(value: Any, file: str, where: str) -> Any:
    """A number, or lists of numbers that make an array."""
    # Rows of different lengths stay lists.
    numbers = np.array(value, dtype=object).ravel()
    if len(numbers) == 0 or not all(map(_is_number, numbers)):
        raise InputError(
            f"{file}: key {where!r} is {short(repr(value))}; give a number, a list of numbers, or "
            'a table such as { prior = "Normal", mu = 0, sigma = 1 }.'
        )
    return value


def _is_number(value: Any) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 2**63
    return isinstance(value, float) and not np.isnan(value)


def _dims(value: Any, file: str, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise InputError(f"{file}: key '{where}.dims' must be a text or a list of texts.")
    return tuple(names)


def write_model(model: NetworkDescription, file: str) -> str:
    """The text of a file called `file`; priors that were not given are left out.

    Raises
    ------
    InputError
        If a function of an equation is not built in, or a prior is a function, another object of
        Python, or names markers.
    """
    head: dict[str, Any] = {
        "name": model.name,
        "summary": model.summary,
        "references": model.references,
    }
    left = {"+".join(e.left): e for e in model.equations}
    partial = [k for k, e in left.items() if k in model.partial or e.connections is not None]
    if partial:
        head["partial"] = partial
    if model.kinships:
        head["kinships"] = model.kinships
    lines = [f"{key} = {_toml(value, file)}" for key, value in head.items()]
    if model.latent:
        lines.append(f"latent = {_table(model.latent, file)}")
    for equation in model.equations:
        lines += _equation_lines(equation, file)
    return "\n".join(lines) + "\n"


def _equation_lines(equation: Equation, file: str) -> list[str]:
    for name, function in equation.functions.items():
        if activations.FUNCTIONS.get(name) is not function:
            raise InputError(
                f"Equation {equation.formula!r} has a function of your own, {name!r}, which a file "
                f"cannot hold; those built in are {', '.join(activations.FUNCTIONS)}."
            )
    lines = ["", "[[equation]]", f"formula = {_toml(equation.formula, file)}"]
    if equation.family != "gaussian":
        lines.append(f"family = {_toml(equation.family, file)}")
    if equation.residual != "independent":
        lines.append(f"residual = {_toml(equation.residual, file)}")
    if equation.bounds is not None:
        lines.append(f"bounds = {_toml(equation.bounds, file)}")
    if equation.weights is not None:
        lines.append(f"weights = {_toml(equation.weights, file)}")
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
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(v, where) for v in value) + "]"
    if isinstance(value, LatentNodes):
        count = len(value.names)
        return _toml(count if value == latent(count) else value.names, where)
    return _table(_parts(value, where), where)


def _parts(value: Any, where: str) -> Mapping[Any, Any]:
    """The keys and values of a prior."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, Prior):
        dims = {} if value.dims is None else {"dims": value.dims}
        return {"prior": value.name, **value.parameters, **dims}
    if isinstance(value, MarkerGroups):
        if not isinstance(value.groups, str):
            raise InputError(
                f"{where}: its groups name markers of the data and cannot be written to a file; "
                "give the name of a column of the marker table."
            )
        return {"groups": value.groups, "priors": value.priors}
    if isinstance(value, CovariancePrior):
        scale = {} if value.scale is None else {"scale": value.scale}
        return {"prior": "HalfTCovariance", **scale, "df": value.df}
    if type(value) in MARKER_PRIORS.values():
        given = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
        kept = {k: v for k, v in given.items() if v is not None and v is not False}
        return {"prior": type(value).__name__, **kept}
    raise InputError(
        f"{where}: {value!r} cannot be written to a file; give numbers or Prior objects."
    )


def _table(parts: Mapping[Any, Any], where: str) -> str:
    for key in parts:
        if isinstance(key, tuple):
            raise InputError(
                f"{where}: a file cannot hold the prior that columns {', '.join(map(str, key))} "
                "share; give each column, or '*', a prior of its own."
            )
    inside = ", ".join(f"{_key(str(k))} = {_toml(v, where)}" for k, v in parts.items())
    return f"{{ {inside} }}"

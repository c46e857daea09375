"""One equation of a network: ``"y ~ 1 + sex + tanh(omics) + geno"`` taken apart into terms.

The grammar is that of the formulae package. What a name means (a layer, a column of a table) is
known only beside the layers, so `Equation` splits and `resolve` in `network` decides.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import formulae

from nnmm_pymc.errors import InputError

__all__ = ["ACTIVATIONS", "Equation", "Term"]

#: Activations known by name in a formula; ``scale`` standardises by the observed mean and sd.
ACTIVATIONS = ("identity", "tanh", "sigmoid", "relu", "leaky_relu")


@dataclass(frozen=True)
class Term:
    """One term of a right-hand side.

    Attributes
    ----------
    label : str
        The term as written, without spaces.
    names : tuple of str
        Words of the term that are layers or columns.
    functions : tuple of str
        Functions around a single name, outermost first: ``("tanh", "scale")`` for
        ``tanh(scale(omics))``. Empty for a bare name, an interaction or a transformed covariate.
    """

    label: str
    names: tuple[str, ...]
    functions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Equation:
    """One equation of a network.

    Parameters
    ----------
    formula : str
        ``"left ~ right"``. Left: a layer (all its columns are modelled alike), or columns of one
        layer joined by ``+``. Right: ``1`` (intercept), layers, functions of layers, covariates and
        factors, interactions (``sex:age``, ``sex*age``).
    priors : mapping, optional
        From a term as written (``"geno"``, ``"omics"``, ``"sex"``), ``"Intercept"`` or
        ``"residual_variance"`` to its prior; what is left out gets a default scaled from the data.
    connections : mapping, optional
        From a child (column of the left side) to the markers or omics that may reach it; a child
        that is not named is reached by all. Or from a term to such a mapping.
    family : str
        Likelihood of the left side; ``"gaussian"``.

    Examples
    --------
    >>> Equation("y ~ 1 + tanh(omics)").right
    ('1', 'tanh(omics)')
    """

    formula: str
    priors: Mapping[str, Any] = field(default_factory=dict)
    connections: Mapping[str, Any] | None = None
    family: str = "gaussian"

    def __post_init__(self) -> None:
        if not isinstance(self.formula, str) or self.formula.count("~") != 1:
            raise InputError(
                f"Equation {self.formula!r} needs the form 'left ~ right', for example "
                "'y ~ 1 + tanh(omics)'."
            )
        if self.family != "gaussian":
            raise InputError(
                f"Equation {self.formula!r}: family {self.family!r} is not known; use 'gaussian'."
            )
        if not self.left:
            raise InputError(f"Equation {self.formula!r} has nothing left of '~'.")
        known = {"Intercept", "residual_variance", *(t.label for t in self.terms)}
        known |= {name for term in self.terms for name in term.names}
        for key in self.priors:
            if key not in known:
                raise InputError(
                    f"Equation {self.formula!r} has a prior for {key!r}, which is none of its "
                    f"terms: {', '.join(sorted(known))}."
                )

    @property
    def left(self) -> tuple[str, ...]:
        """Names on the left side."""
        return tuple(n.strip() for n in self.formula.split("~")[0].split("+") if n.strip())

    @property
    def right(self) -> tuple[str, ...]:
        """Labels of the terms on the right side, the intercept as ``1``."""
        labels = tuple(t.label for t in self.terms)
        return ("1", *labels) if self.intercept else labels

    @property
    def intercept(self) -> bool:
        """Whether the equation has an intercept."""
        return any(type(t).__name__ == "Intercept" for t in self._parsed())

    @property
    def terms(self) -> tuple[Term, ...]:
        """Terms on the right side but the intercept."""
        return tuple(
            _term(t, self.formula) for t in self._parsed() if type(t).__name__ != "Intercept"
        )

    def _parsed(self) -> Sequence[Any]:
        right = self.formula.split("~")[1].strip()
        try:
            return formulae.model_description(f"left ~ {right}").terms
        except Exception as error:
            raise InputError(
                f"Equation {self.formula!r} cannot be read: {error}. Use names, '+', ':', '*', "
                "and functions such as tanh(omics)."
            ) from None

    def __repr__(self) -> str:
        parts = [repr(self.formula)]
        if self.priors:
            parts.append(f"priors={dict(self.priors)!r}")
        if self.connections is not None:
            parts.append(f"connections for {len(self.connections)} children")
        return f"Equation({', '.join(parts)})"


def _term(parsed: Any, formula: str) -> Term:
    if type(parsed).__name__ == "GroupSpecificTerm":
        raise InputError(
            f"Equation {formula!r}: the group term ({parsed.name}) is not supported; enter "
            "the factor as a fixed effect."
        )
    label = parsed.name.replace(" ", "")
    functions = _nested_calls(label)
    names = tuple(sorted(parsed.var_names))
    if functions is None or len(names) != 1:
        return Term(label, names)
    return Term(label, names, functions)


def _nested_calls(label: str) -> tuple[str, ...] | None:
    """``tanh(scale(x))`` to ``("tanh", "scale")``; None where the label is no such nest."""
    try:
        node: ast.expr = ast.parse(label, mode="eval").body
    except SyntaxError:
        return None
    functions = []
    while isinstance(node, ast.Call):
        if len(node.args) != 1 or node.keywords:
            return None
        functions.append(ast.unparse(node.func))
        node = node.args[0]
    return tuple(functions) if isinstance(node, ast.Name) else None

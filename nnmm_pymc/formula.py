"""One equation of a network: ``"y ~ 1 + sex + tanh(omics) + geno"`` taken apart into terms.

The grammar is that of the formulae package. What a name means (a layer, a column of a table) is
known only beside the layers, so `Equation` splits and `resolve` in `nodes` decides.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import comb
from typing import Any

from formulae.expr import Binary, Grouping, Literal
from formulae.parser import Parser
from formulae.resolver import Resolver
from formulae.scanner import Scanner
from formulae.terms import Call, Model
from formulae.terms import Term as ParsedTerm
from formulae.terms.call_resolver import CallResolver, LazyCall

from nnmm_pymc.edge_table import EdgeTable
from nnmm_pymc.errors import InputError

__all__ = [
    "ACTIVATIONS",
    "Equation",
    "Term",
    "is_intercept",
    "label_of",
    "nested_calls",
    "parsed_model",
]

#: Activations known by name in a formula; ``scale`` standardises by the observed mean and sd.
ACTIVATIONS = ("identity", "tanh", "sigmoid", "relu", "leaky_relu")
#: Likelihoods by name.
FAMILIES = (
    "gaussian",
    "student_t",
    "bernoulli",
    "ordinal",
    "poisson",
    "negative_binomial",
    "censored",
)
#: What a family has to estimate beside its residual variance, as priors name it.
SHAPES = {"student_t": "df", "negative_binomial": "dispersion"}

#: Terms of the largest equation: the time that formulae takes grows with their square.
MOST_TERMS = 2000
LONGEST = 20_000


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
    group : tuple of str
        Columns whose levels, in all their combinations, have random effects: of a group term.
    slope : str, optional
        The column by which a group term multiplies its effects.
    """

    label: str
    names: tuple[str, ...]
    functions: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    slope: str | None = None

    @property
    def call(self) -> tuple[str, tuple[str, ...]] | None:
        """Function and arguments of a label such as ``f(z1,z2)``; None for any other label."""
        node = _expression(self.label)
        if not isinstance(node, ast.Call) or node.keywords or not isinstance(node.func, ast.Name):
            return None
        names = tuple(a.id for a in node.args if isinstance(a, ast.Name))
        return (node.func.id, names) if len(names) == len(node.args) else None


@dataclass(frozen=True)
class Equation:
    """One equation of a network.

    Parameters
    ----------
    formula : str
        ``"left ~ right"``. Left: a layer (all its columns are modelled alike), or columns of one
        layer joined by ``+``. Right: ``1`` (intercept), layers, functions of layers, covariates and
        factors, interactions (``sex:age``, ``sex*age``), and random effects:

        - ``(1|herd)``: of the levels of a column, independent; ``(1|herd:year)``: of combinations;
        - ``(0+age|herd)``: slopes, a regression on age for each herd; ``(age|herd)`` is
          ``(1|herd) + (0+age|herd)``, intercepts and slopes being independent;
        - ``ped``, a layer with a pedigree or precision matrix: of each individual, correlated as
          relatives are; ``ped(dam)``: of the member that column ``dam`` names (maternal effects).
    priors : mapping, optional
        From a term as written (``"geno"``, ``"omics"``, ``"sex"``), ``"Intercept"`` or
        ``"residual_variance"`` to its prior; what is left out gets a default scaled from the data.
        Of random effects (``"1|herd"``, ``"ped"``) it is the prior of their variance.
    connections : mapping, optional
        From a child (column of the left side) to the markers or omics that may reach it; a child
        that is not named is reached by all. Or from a term to such a mapping. `read_connections`
        makes one of a table of edges.
    functions : mapping, optional
        Functions of your own by the name the formula calls them: Python functions of PyTensor
        variables, a vector for a column and a matrix for a layer, that return a vector or matrix
        with a row for each individual (``lambda z1, z2: z1 * z2``). Derivatives are automatic;
        variables made with PyMC inside are unknown parameters.
    family : str
        Likelihood of the left side (`nnmm_pymc.families`): ``"gaussian"``; and for traits that
        nothing depends on ``"bernoulli"`` (0 and 1), ``"ordinal"`` (ordered categories),
        ``"poisson"`` and ``"negative_binomial"`` (counts), and ``"censored"``, whose terms act on
        a Gaussian liability; or ``"student_t"``, residuals with heavy tails, so that single odd
        values do little harm (without marker terms). Priors may be given of the ``"dispersion"``
        phi of a negative binomial, whose variance is ``m + phi m^2`` at mean m, and of the
        degrees of freedom ``"df"`` of a t, above 2.
    weights : str, optional
        Column of known weights, such as the number of measurements a value is the mean of: the
        residual variance of a value is the parameter over its weight.
    bounds : (str, str), optional
        Of the family ``"censored"``: columns between which a value lies that is missing on the
        left; one that is missing is no bound.
    residual : {"independent", "correlated"}
        Whether residuals of the columns correlate within a row, of an individual or a record: then
        their covariance matrix is unknown, with a prior ``"residual_covariance"``, and whatever
        traits a row has say something of those it lacks. For Gaussian traits that nothing depends
        on, without weights. Random effects on different traits are independent, but of individuals
        themselves (``ped``) with a prior ``HalfTCovariance()``.

    Examples
    --------
    >>> Equation("y ~ 1 + tanh(omics)").right
    ('1', 'tanh(omics)')
    """

    formula: str
    priors: Mapping[str, Any] = field(default_factory=dict)
    connections: Mapping[str, Any] | None = None
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    family: str = "gaussian"
    weights: str | None = None
    bounds: tuple[str, str] | None = None
    residual: str = "independent"

    def __post_init__(self) -> None:
        if isinstance(self.formula, str) and len(self.formula) > LONGEST:
            raise InputError(
                f"Equation {self.formula[:40]!r}... has {len(self.formula)} characters, more than "
                f"{LONGEST}; give its columns a layer and name the layer."
            )
        if not isinstance(self.formula, str) or self.formula.count("~") != 1:
            raise InputError(
                f"Equation {self.formula!r} needs the form 'left ~ right', for example "
                "'y ~ 1 + tanh(omics)'."
            )
        if self.family not in FAMILIES:
            raise InputError(
                f"Equation {self.formula!r}: family {self.family!r} is not known; use one of "
                f"{', '.join(FAMILIES)}."
            )
        if (self.bounds is not None) is not (self.family == "censored"):
            raise InputError(
                f"Equation {self.formula!r}: the family 'censored', and no other, needs "
                "bounds=(lower, upper)."
            )
        if self.residual not in ("independent", "correlated"):
            raise InputError(
                f"Equation {self.formula!r}: residual={self.residual!r} is not known; use "
                "'independent' or 'correlated'."
            )
        for name, function in self.functions.items():
            if not callable(function):
                raise InputError(f"Equation {self.formula!r}: function {name!r} is {function!r}.")
            if name in (*ACTIVATIONS, "scale"):
                raise InputError(
                    f"Equation {self.formula!r}: {name!r} is built in; call your function another "
                    "name."
                )
        if not self.left:
            raise InputError(
                f"Equation {self.formula!r} has nothing left of '~'; name what it models."
            )
        if len({*self.left}) < len(self.left):
            raise InputError(
                f"Equation {self.formula!r} has a name twice left of '~'; give it once."
            )
        object.__setattr__(self, "connections", _lasting(self.connections))
        known = {"Intercept", f"residual_{self._spread}", *(t.label for t in self.terms)}
        known |= {name for term in self.terms for name in term.names}
        known |= {SHAPES[self.family]} if self.family in SHAPES else set()
        for key in self.priors:
            if key not in known:
                raise InputError(
                    f"Equation {self.formula!r} has a prior for {key!r}, which is none of its "
                    f"terms: {', '.join(sorted(known))}; correct the name."
                )

    @property
    def _spread(self) -> str:
        return "covariance" if self.residual == "correlated" else "variance"

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
        return any(is_intercept(t) for t in _parsed(self.formula))

    @property
    def terms(self) -> tuple[Term, ...]:
        """Terms on the right side but the intercept."""
        return tuple(_term(t, self.formula) for t in _parsed(self.formula) if not is_intercept(t))

    def __repr__(self) -> str:
        parts = [repr(self.formula)]
        if self.priors:
            parts.append(f"priors={dict(self.priors)!r}")
        if self.weights is not None:
            parts.append(f"weights={self.weights!r}")
        if self.family != "gaussian":
            parts.append(f"family={self.family!r}")
        if self.residual != "independent":
            parts.append(f"residual={self.residual!r}")
        if self.connections is not None:
            parts.append(f"connections for {len(self.connections)} children")
        return f"Equation({', '.join(parts)})"


def _lasting(connections: Any) -> Any:
    """Connections with lists in place of iterators, which give their names only once."""
    if isinstance(connections, EdgeTable):
        return EdgeTable(connections, connections.source, connections.header)
    if isinstance(connections, Mapping):
        return {key: _lasting(value) for key, value in connections.items()}
    return list(connections) if isinstance(connections, Iterator) else connections


@lru_cache(maxsize=256)
def _parsed(formula: str) -> tuple[Any, ...]:
    """Terms of the right-hand side."""
    try:
        return tuple(parsed_model(formula).terms)
    except Exception as error:
        raise InputError(
            f"Equation {formula!r} cannot be read: {str(error).rstrip('.')}. Use names, '+', ':', "
            "'*', and functions such as tanh(omics)."
        ) from None


def parsed_model(formula: str) -> Model:
    """What formulae makes of the right-hand side, provided that it reads it to its end."""
    parser = Parser(Scanner(formula.split("~")[1].strip()).scan())
    tree = parser.parse()
    if not parser.at_end():
        raise ValueError(f"an operator is lacking before {parser.peek().lexeme!r}")
    if _n_terms(tree) > MOST_TERMS:
        raise ValueError(f"it has more than {MOST_TERMS} terms")
    terms = _Terms(tree).resolve()
    return terms if isinstance(terms, Model) else Model(terms)


class _Call(LazyCall):
    """A call that can be compared with a name, as in ``tanh(scale(x)) + tanh(y)``."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LazyCall) and super().__eq__(other)


class _Calls(CallResolver):
    def visitCallExpr(self, expr: Any) -> _Call:
        call = super().visitCallExpr(expr)
        return _Call(call.callee, call.args, call.kwargs)


class _Terms(Resolver):
    """The resolver of formulae, for terms it cannot compare or reads as others."""

    def visitCallExpr(self, expr: Any) -> ParsedTerm:
        return ParsedTerm(Call(_Calls(expr).resolve()))

    def visitVariableExpr(self, expr: Any) -> ParsedTerm:
        if expr.level:
            raise ValueError(f"{expr.name.lexeme}[...] is no name of a column")
        return super().visitVariableExpr(expr)


def _n_terms(tree: Any) -> int:
    """How many terms an expression stands for, at most."""
    if isinstance(tree, Grouping):
        return _n_terms(tree.expression)
    if not isinstance(tree, Binary):
        return 1
    left, right, operator = _n_terms(tree.left), _n_terms(tree.right), tree.operator.kind
    if operator == "STAR_STAR" and left == 1:
        raise ValueError("the power of a column is written I(x**2)")
    if operator == "STAR_STAR" and isinstance(tree.right, Literal):
        return sum(comb(left, k) for k in range(1, 1 + min(left, int(tree.right.value))))
    products = left * right if operator in ("STAR", "COLON", "SLASH") else 0
    return products + (0 if operator == "COLON" else left + right)


def _term(parsed: Any, formula: str) -> Term:
    if type(parsed).__name__ == "GroupSpecificTerm":
        return _group_term(parsed, formula)
    label = label_of(parsed)
    functions = nested_calls(label)
    names = tuple(sorted(name for name in parsed.var_names if name and isinstance(name, str)))
    if not names:
        raise InputError(
            f"Equation {formula!r}: term {label!r} names no layer or column; name one (0 and 1 are "
            "the only numbers that stand alone)."
        )
    if functions is None or len(names) != 1:
        return Term(label, names)
    return Term(label, names, functions)


def _group_term(parsed: Any, formula: str) -> Term:
    """``(1|herd)``, ``(1|herd:year)``, or ``(0+age|herd)``: one term for each random effect."""
    group, slope = parsed.factor.components, getattr(parsed.expr, "components", [])
    if len(slope) > 1 or any(type(c).__name__ != "Variable" for c in [*group, *slope]):
        raise InputError(
            f"Equation {formula!r}: the group term ({parsed.name}) is not understood; write "
            "(1|column), (1|column:column) for combinations, or (0+column|column) for a slope."
        )
    names = tuple(c.name for c in group)
    slopes = tuple(c.name for c in slope)
    return Term(
        label_of(parsed), tuple(sorted({*names, *slopes})), (), names, *(slopes[:1] or (None,))
    )


def is_intercept(parsed: Any) -> bool:
    return type(parsed).__name__ == "Intercept"


def label_of(parsed: Any) -> str:
    return parsed.name.replace(" ", "")


def _expression(label: str) -> ast.expr | None:
    try:
        return ast.parse(label, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def nested_calls(label: str) -> tuple[str, ...] | None:
    """``tanh(scale(x))`` to ``("tanh", "scale")``; None where the label is no such nest."""
    node = _expression(label)
    functions = []
    while isinstance(node, ast.Call):
        if len(node.args) != 1 or node.keywords:
            return None
        functions.append(ast.unparse(node.func))
        node = node.args[0]
    return tuple(functions) if isinstance(node, ast.Name) else None

"""The equations that the options of `nnmm fit` spell out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnmm_pymc.alphabet import MarkerPrior
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import ACTIVATIONS, FAMILIES, Equation
from nnmm_pymc.joint_priors import JointPrior
from nnmm_pymc.model_file import MARKER_PRIORS
from nnmm_pymc.registry import NetworkDescription

__all__ = ["PRIORS", "EquationOptions", "check_values"]

PRIORS = {name.lower(): prior for name, prior in MARKER_PRIORS.items() if name != "MarkerPrior"}
KNOWN = {"--activation": ACTIVATIONS, "--prior": PRIORS, "--family": FAMILIES}


@dataclass(frozen=True)
class EquationOptions:
    """What acts on omics and traits.

    Attributes
    ----------
    traits, covariates, random : sequence of str
        Columns of the phenotypes; those of `random` have an effect for each of their levels.
    relatives : str, optional
        Layer of a pedigree, or of genotypes and pedigree joined.
    markers : MarkerPrior, optional
        None without genotypes.
    activation : str, optional
        Of the omics; None without them.
    direct : bool
        Whether markers act on the traits too where there are omics.
    family : str
    weights : str, optional
    bounds : (str, str), optional
        Columns between which censored values lie.
    correlated : bool
        Whether the residuals of the traits correlate.
    """

    traits: Sequence[str]
    covariates: Sequence[str]
    random: Sequence[str]
    relatives: str | None
    markers: MarkerPrior | None
    activation: str | None
    direct: bool
    family: str
    weights: str | None
    bounds: tuple[str, str] | None
    correlated: bool

    @property
    def used(self) -> set[str]:
        """Columns of the phenotypes that are no traits."""
        weights = [self.weights] if self.weights else []
        terms = [term for c in self.covariates for term in Equation(f"y ~ {c}").terms]
        covariates = [name for term in terms for name in term.names]
        return {*covariates, *self.random, *weights, *(self.bounds or ())}

    def description(self) -> NetworkDescription:
        """The equation of the omics, if there are any, and one for each trait or for all.

        Raises
        ------
        InputError
            Nothing acts on the traits.
        """
        inherited = [*(["geno"] if self.markers else []), *filter(None, [self.relatives])]
        priors = {"geno": self.markers} if self.markers else {}
        equations = []
        terms = ["1", *self.covariates, *(f"(1|{column})" for column in self.random)]
        if self.activation is not None:
            if not inherited:
                raise InputError("--omics: nothing acts on them; give --genotypes or --pedigree.")
            formula = " + ".join(["omics ~ 1", *inherited])
            equations.append(Equation(formula, priors=priors))
            plain = self.activation == "identity"
            terms.append("omics" if plain else f"{self.activation}(scale(omics))")
            if not self.direct:
                inherited = [term for term in inherited if term != "geno"]
        terms += inherited
        if len(terms) == 1:
            raise InputError(
                "Nothing acts on the traits; give --genotypes, --pedigree, --random or "
                "--covariates."
            )
        acting = priors if "geno" in inherited else {}
        together = self.correlated or (acting and isinstance(self.markers, JointPrior))
        for left in [" + ".join(self.traits)] if together else self.traits:
            equations.append(
                Equation(
                    f"{left} ~ {' + '.join(terms)}",
                    priors=acting,
                    family=self.family,
                    weights=self.weights,
                    bounds=self.bounds,
                    residual="correlated" if self.correlated else "independent",
                )
            )
        return NetworkDescription("Equations", "from the options", (), tuple(equations))


def check_values(model: str | None, options: Mapping[str, Any]) -> None:
    """Refuse options that make equations beside a model, and values that are not known."""
    for option, value in options.items():
        if model is not None and value:
            raise InputError(f"{option} makes equations, but --model {model} has its own.")
        known = KNOWN.get(option)
        if known is not None and value is not None and value not in known:
            raise InputError(f"{option} {value} is not known; give one of {', '.join(known)}.")

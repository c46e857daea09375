"""Small networks and models, one of each kind of update, with proper priors that are not vague.

Few individuals and informative priors: data that say little let a chain that draws them again and
again (`nnmm_pymc.checks.geweke`) move.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt

import nnmm_pymc as nn

N, P = 12, 5
IDS = [f"i{i}" for i in range(N)]
VARIANCE = nn.Prior("InverseGamma", alpha=4.0, beta=3.0)
INTERCEPT = nn.Prior("Normal", mu=0.3, sigma=0.5)
WEIGHTS = nn.Prior("Normal", mu=0.2, sigma=0.6)
SLAB = nn.Prior("InverseGamma", alpha=4.0, beta=0.6)
INCLUSION = nn.Prior("Beta", alpha=2.0, beta=3.0)

MARKERS = {
    "RRBLUP": nn.RRBLUP(slab_variance=SLAB),
    "BayesA": nn.BayesA(df=5.0, scale=nn.Prior("InverseGamma", alpha=4.0, beta=0.4)),
    "BayesB": nn.BayesB(
        inclusion=INCLUSION, df=5.0, scale=nn.Prior("InverseGamma", alpha=4.0, beta=0.4)
    ),
    "BayesC": nn.BayesC(inclusion=INCLUSION, slab_variance=SLAB),
    "BayesL": nn.BayesL(lambda_squared=nn.Prior("Gamma", alpha=4.0, beta=0.4)),
    "BayesR": nn.BayesR(
        class_probabilities=nn.Prior("Dirichlet", a=[2.0, 2.0, 1.0]),
        class_variances=(0.1, 1.0),
        slab_variance=SLAB,
    ),
    "Horseshoe": nn.Horseshoe(
        global_scale=nn.Prior("HalfNormal", sigma=0.5),
        slab_variance=nn.Prior("InverseGamma", alpha=4.0, beta=3.0),
    ),
}


def tables(missing: bool) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Dosages, two omics and two traits, of which some cells are missing (some of both)."""
    rng = np.random.default_rng(1)
    dosages = rng.binomial(2, 0.4, (N, P)).astype(float)
    omics, traits = rng.normal(0.3, 1.0, (N, 2)), rng.normal(0.3, 1.0, (N, 2))
    if missing:
        omics[:4, 0] = omics[2:6, 1] = np.nan
    traits[0, 0] = traits[3:5, 1] = traits[-1, 1] = np.nan
    return (
        pd.DataFrame(dosages, IDS, [f"m{j}" for j in range(P)]),
        pd.DataFrame(omics, IDS, ["e0", "e1"]),
        pd.DataFrame(traits, IDS, ["y0", "y1"]),
    )


def network(
    prior: Any,
    term: str,
    *,
    missing: bool = True,
    weights: Any = WEIGHTS,
    direct: Any = None,
    connections: Any = None,
) -> nn.Network:
    """Markers act on omics, omics (and markers, with a prior `direct`) on traits."""
    dosages, omics, traits = tables(missing)
    common = {"Intercept": INTERCEPT, "residual_variance": VARIANCE}
    acting = {term: weights} | ({} if direct is None else {"geno": direct})
    formula = f"pheno ~ 1 + {term}" + ("" if direct is None else " + geno")
    return nn.Network(
        [nn.Layer("geno", dosages), nn.Layer("omics", omics), nn.Layer("pheno", traits)],
        [
            nn.Equation("omics ~ 1 + geno", priors={"geno": prior, **common}),
            nn.Equation(formula, priors={**acting, **common}, connections=connections),
        ],
    )


def bent_network() -> nn.Network:
    """Four missing omics and a weight that trade off along curves: hard on trajectories."""
    dosages, omics, traits = (table.iloc[:6] for table in tables(missing=False))
    omics, traits = omics[["e0"]].copy(), traits[["y0"]].fillna(0.5)
    omics.iloc[:4] = np.nan
    precise = nn.Prior("InverseGamma", alpha=6.0, beta=0.6)
    wide = nn.Prior("Normal", mu=0.5, sigma=2.0)
    priors = {"geno": MARKERS["RRBLUP"], "Intercept": INTERCEPT, "residual_variance": VARIANCE}
    return nn.Network(
        [nn.Layer("geno", dosages), nn.Layer("omics", omics), nn.Layer("pheno", traits)],
        [
            nn.Equation("omics ~ 1 + geno", priors=priors),
            nn.Equation(
                "y0 ~ 1 + tanh(omics)",
                priors={"omics": wide, "Intercept": INTERCEPT, "residual_variance": precise},
            ),
        ],
    )


def category_network(family: str, n_categories: int) -> nn.Network:
    """A trait of some categories, with random effects of herds."""
    dosages, _, traits = tables(missing=False)
    herds = [f"h{i % 4}" for i in range(N)]
    traits = pd.DataFrame({"y0": np.arange(N) % n_categories, "herd": herds}, IDS)
    herd = nn.Prior("InverseGamma", alpha=4.0, beta=0.9)
    priors = {"geno": MARKERS["BayesC"], "Intercept": INTERCEPT, "1|herd": herd}
    equation = nn.Equation("y0 ~ 1 + geno + (1|herd)", priors=priors, family=family)
    return nn.Network([nn.Layer("geno", dosages), nn.Layer("pheno", traits)], [equation])


def relatives_network(repeated: bool) -> nn.Network:
    """Two traits of animals with a pedigree, some of them recorded again and again."""
    _, _, traits = tables(missing=False)
    sires = [None, None, None, "i0", "i0", "i0", "i3", "i3", "i3", "i5", "i5", "i6"]
    dams = [None, None, None, "i1", "i2", "i2", "i4", "i4", "i7", "i4", "i7", "i8"]
    pedigree = pd.DataFrame({"individual": IDS, "sire": sires, "dam": dams})
    records = traits.iloc[2:].assign(cow=IDS[2:])
    if repeated:
        again = records.iloc[[0, 2, 2, 3, 5, 8, 8, 9]].copy()
        again[["y0", "y1"]] += [0.5, -0.5]
        records = pd.concat([records, again], ignore_index=True)
    additive = nn.Prior("InverseGamma", alpha=4.0, beta=1.5)
    priors = {"ped": additive, "Intercept": INTERCEPT, "residual_variance": VARIANCE}
    right = "1 + (1|cow) + ped" if repeated else "1 + ped"
    priors |= {"1|cow": nn.Prior("Gamma", alpha=3.0, beta=8.0)} if repeated else {}
    return nn.Network(
        [
            nn.Layer("ped", nn.read_pedigree(pedigree)),
            nn.Layer("pheno", records, individual="cow"),
        ],
        nn.Equation(f"y0 + y1 ~ {right}", priors=priors),
    )


def traits_network(prior: Any, residual: str = "correlated") -> nn.Network:
    """Markers act on two traits, of which some are missing; their residuals may correlate."""
    dosages, _, traits = tables(missing=False)
    covariance = nn.HalfTCovariance(scale=[0.7, 1.0], df=4.0)
    spread = {"residual_covariance": covariance, "residual_variance": VARIANCE}
    spread.pop("residual_variance" if residual == "correlated" else "residual_covariance")
    priors = {"geno": prior, "Intercept": INTERCEPT, **spread}
    return nn.Network(
        [nn.Layer("geno", dosages), nn.Layer("pheno", traits)],
        nn.Equation("pheno ~ 1 + geno", priors=priors, residual=residual),
    )


def coupled_network(repeated: bool = False, joint: bool = False) -> nn.Network:
    """Pedigree and herds act on two traits whose residuals correlate; some are missing.

    Additive effects on the traits are independent, or correlate (`joint`).
    """
    own = relatives_network(repeated)
    pheno = next(layer for layer in own.layers if layer.name == "pheno").data
    herds = pheno.assign(herd=[f"h{k % 3}" for k in range(len(pheno))])
    given = own.equations[0].priors
    priors = {k: v for k, v in given.items() if k != "residual_variance"}
    priors |= {
        "1|herd": nn.Prior("InverseGamma", alpha=4.0, beta=1.5),
        "residual_covariance": nn.HalfTCovariance(scale=[0.7, 1.0], df=4.0),
    }
    priors |= {"ped": nn.HalfTCovariance(scale=[0.5, 0.6], df=4.0)} if joint else {}
    right = own.equations[0].formula.split("~")[1]
    equation = nn.Equation(f"y0 + y1 ~ {right} + (1|herd)", priors=priors, residual="correlated")
    ped = next(layer for layer in own.layers if layer.name == "ped")
    return nn.Network([ped, nn.Layer("pheno", herds, individual="cow")], equation)


def own_model() -> pm.Model:
    """Hyper-parameters of a user's own: slice updates, a trajectory, gammas, a Dirichlet."""
    dosages, _, traits = tables(missing=False)
    genotypes = nn.read_genotypes(dosages)
    rng = np.random.default_rng(2)
    y, annotations = traits["y0"].fillna(0.0).to_numpy(), rng.normal(size=P)
    with pm.Model(coords={"marker": genotypes.markers}) as model:
        start, slope = pm.Normal("start", -0.5, 0.7), pm.Normal("slope", 0, 0.5)
        effects = nn.MarkerEffects(
            "effects",
            inclusion=pm.math.invprobit(start + slope * annotations),
            slab_variance=pm.HalfNormal("sd", 0.5) ** 2,
            dims="marker",
        )
        value = pm.Deterministic("value", nn.genetic_value(genotypes, effects))
        precision = pm.Gamma("precision", 4, 4)
        pm.Normal("y", pm.Normal("intercept", 0, 0.5) + value, tau=precision, observed=y)
        odd = pm.Exponential("odd", 1.0)
        pm.Normal("x", 0, pt.sqrt(odd), observed=y[:4])
        pair = pm.HalfNormal("pair", 1.0, shape=2)
        pm.Normal("w", 0, pt.sqrt(pair[0] + pair[1]), observed=y[:6])
        shares = pm.Dirichlet("shares", [2.0, 1.0, 3.0])
        pm.Multinomial("counts", 6, shares, observed=[1, 2, 3])
    return model


def scale_model() -> pm.Model:
    """Two standard deviations that are slice-sampled, each of its own data."""
    with pm.Model() as model:
        sd = pm.HalfNormal("sd", 1.0, shape=2)
        pm.Normal("y", 0, sd, observed=[[0.3, -1.2], [0.8, 0.1], [-0.4, 2.0]])
    return model


JOINT_SLAB = nn.HalfTCovariance(scale=[0.4, 0.3], df=4.0)
JOINT = nn.JointBayesC(
    pattern_probabilities=nn.Prior("Dirichlet", a=[2.0, 1.0, 1.0, 2.0]), covariance=JOINT_SLAB
)


# The model and how its missing cells are drawn.
MODELS: dict[str, Callable[[], tuple[Any, str]]] = {
    "nuts": lambda: (network(MARKERS["BayesC"], "tanh(omics)"), "auto"),
    "bent": lambda: (bent_network(), "auto"),
    "scaled nuts": lambda: (network(MARKERS["RRBLUP"], "tanh(scale(omics))"), "auto"),
    "gibbs": lambda: (network(MARKERS["BayesC"], "scale(omics)"), "auto"),
    "hmc": lambda: (network(MARKERS["RRBLUP"], "sigmoid(scale(omics))"), "hmc"),
    "direct": lambda: (
        network(MARKERS["BayesL"], "omics", missing=False, direct=MARKERS["BayesC"]),
        "auto",
    ),
    "selection": lambda: (
        network(MARKERS["BayesB"], "omics", missing=False, weights=MARKERS["BayesR"]),
        "auto",
    ),
    "relu": lambda: (
        network(MARKERS["RRBLUP"], "relu(omics)", weights=MARKERS["BayesC"]),
        "auto",
    ),
    "classes": lambda: (network(MARKERS["BayesR"], "omics", missing=False), "auto"),
    "horseshoe": lambda: (network(MARKERS["Horseshoe"], "omics", missing=False), "auto"),
    "partial": lambda: (
        network(
            {"e0": MARKERS["BayesR"], "*": MARKERS["BayesA"]},
            "tanh(omics)",
            connections={"y0": ["e0"], "y1": ["e0", "e1"]},
        ),
        "auto",
    ),
    "binary": lambda: (category_network("bernoulli", 2), "auto"),
    "ordinal": lambda: (category_network("ordinal", 4), "auto"),
    "relatives": lambda: (relatives_network(repeated=True), "auto"),
    "animal": lambda: (relatives_network(repeated=False), "auto"),
    "joint": lambda: (traits_network(JOINT), "auto"),
    "joint ridge": lambda: (
        traits_network(nn.JointRRBLUP(covariance=JOINT_SLAB), "independent"),
        "auto",
    ),
    "correlated": lambda: (
        traits_network({"y0": MARKERS["BayesR"], "y1": MARKERS["BayesC"]}),
        "auto",
    ),
    "coupled": lambda: (coupled_network(repeated=True), "auto"),
    "joint relatives": lambda: (coupled_network(joint=True), "auto"),
    "own": lambda: (own_model(), "auto"),
    "slices": lambda: (scale_model(), "auto"),
}

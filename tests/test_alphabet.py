r"""Posteriors of the priors of the alphabet against numerical integration.

The reference shares no code with the package. Given the variance of every effect and of the
residuals one column of a small problem is a Gaussian with known moments. These are tabulated on a
grid of log variances, one axis an effect, and a prior is nothing but weights on that grid:

    p(y | hyper, s) = sum_{q_1 ... q_p} L_s(q_1, ..., q_p) prod_j W_j(hyper, q_j)

with L_s the likelihood at residual variance s, the first node of each axis the variance zero (the
spike) and W the prior of one effect's variance, integrated against the spline through the nodes.
Hyper-parameters are integrated on the quantiles of their priors, probabilities by Gauss rules,
which are exact. On a finer grid no mean or sd moves by more than 0.002 of an sd.
`benchmarks/alphabet.py` runs every prior for long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.interpolate import make_interp_spline
from scipy.special import expit, roots_jacobi

import nnmm_pymc as nn

# ---------------------------------------------------------------- likelihood on a grid


class Grid:
    """Nodes of the variance of one effect: zero first, then equally spaced logs."""

    def __init__(self, low=1e-5, high=1e3, step=0.95):
        self.nodes = np.linspace(np.log(low), np.log(high), round(np.log(high / low) / step))
        self.variances = np.concatenate([[0.0], np.exp(self.nodes)])
        self.spline = make_interp_spline(self.nodes, np.eye(len(self.nodes)), k=5)
        self.spike = np.eye(len(self.variances))[0]

    def point(self, log_variance):
        """Weights (..., node) of a known variance; one below the grid is as good as its end."""
        inside = np.clip(log_variance, self.nodes[0], self.nodes[-1])
        # Above the grid the likelihood falls as the height of the prior at the effect does.
        fall = np.exp(-0.5 * np.maximum(log_variance - inside, 0.0))
        weights = self.spline(inside) * fall[..., None]
        return np.concatenate([np.zeros((*weights.shape[:-1], 1)), weights], axis=-1)


class Column:
    """Likelihood of one column and moments of its effects, on the grid, by residual variance.

    The intercept is an effect too, with the variance of its prior.
    """

    def __init__(self, x, y, intercept, residual, grid):
        seen = ~np.isnan(y)
        design = np.column_stack([np.ones(seen.sum()), x[seen]])
        self.mu, sd = intercept
        y, p = y[seen] - self.mu, x.shape[1]
        left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        low, high = np.log(left.var()) - 1.3, np.log(y.var()) + 1.3
        self.log_s = np.linspace(low, high, round((high - low) / 0.13))
        self.shape = (len(grid.variances),) * p
        axes = np.meshgrid(*[grid.variances] * p, indexing="ij")
        spread = np.sqrt(np.stack([np.full(self.shape, sd**2), *axes], axis=-1)).reshape(-1, p + 1)
        gram, right = design.T @ design, design.T @ y
        logs, means, squares = zip(
            *(_at(np.exp(s), spread, gram, right) for s in self.log_s), strict=True
        )
        prior = residual.logpdf(np.exp(self.log_s)) + self.log_s
        base = prior - 0.5 * len(y) * self.log_s - 0.5 * y @ y * np.exp(-self.log_s)
        log_density = np.stack(logs) + base[:, None]
        self.density = np.exp(log_density - log_density.max()).reshape(-1, *self.shape)
        self.mean = np.stack(means).reshape(-1, *self.shape, p + 1)
        self.square = np.stack(squares).reshape(-1, *self.shape, p + 1)


def _at(s, spread, gram, right):
    """Log likelihood, mean and mean square of the effects at one residual variance."""
    scaled = spread * right / s
    inner = np.eye(len(right)) + spread[:, :, None] * gram * spread[:, None, :] / s
    inverse = np.linalg.inv(inner)
    fit = (inverse @ scaled[..., None])[..., 0]
    log_density = 0.5 * (scaled * fit).sum(axis=-1) - 0.5 * np.linalg.slogdet(inner)[1]
    mean = spread * fit
    return log_density, mean, mean**2 + spread**2 * np.diagonal(inverse, axis1=1, axis2=2)


# ---------------------------------------------------------------- posterior


@dataclass
class Belief:
    """A prior on the grid: nodes of the hyper-parameters and the prior of each effect given them.

    Attributes
    ----------
    weight : (H,) array
        Prior weights of the nodes.
    values : dict of str to (H,) array
        Hyper-parameters, in logs unless they are probabilities.
    slab : callable
        Of a residual variance: for every effect the (H, node) weights of its variance.
    own : callable, optional
        Of the same: for every effect these weights times the first and the second power of
        `bounded` of the variable that it has for itself.
    own_name : str
    """

    weight: np.ndarray
    values: dict[str, np.ndarray]
    slab: Callable
    own: Callable | None = None
    own_name: str = ""


def bounded(log_value):
    """v / (1 + v): variances of single effects have too heavy tails for a Monte Carlo error."""
    return expit(log_value)


def outer(weights):
    """Products over some effects of their (H, node) weights: (H, node^m)."""
    out = np.ones((len(weights[0]), 1))
    for w in weights:
        out = (out[:, :, None] * w[:, None, :]).reshape(len(w), -1)
    return out


def evidence_of(density, weights):
    """Likelihood averaged over the variances of all effects, for every hyper-parameter."""
    half = (len(weights) + 1) // 2
    left, right = outer(weights[:half]), outer([*weights[half:], np.ones((len(weights[0]), 1))])
    return ((left @ density.reshape(left.shape[1], -1)) * right).sum(axis=1)


def prior_of_nodes(weight, weights):
    """Prior of the nodes of all effects together, averaged over the hyper-parameters."""
    half = (len(weights) + 1) // 2
    left, right = outer(weights[:half]), outer([*weights[half:], np.ones((len(weight), 1))])
    return ((left * weight[:, None]).T @ right).reshape([w.shape[1] for w in weights])


def moments(column, belief):
    """Posterior mean and sd of everything unknown, and the evidence by hyper-parameter.

    Names are the ends of the names of the package's variables, with the place in further axes.
    """
    p = len(column.shape)
    sums: dict[str, np.ndarray] = {}
    evidence = np.zeros(len(belief.weight))

    def add(name, first, second):
        sums[name] = sums.get(name, 0.0) + np.array([first, second])

    for s, density, mean, square in zip(
        column.log_s, column.density, column.mean, column.square, strict=True
    ):
        slab = belief.slab(np.exp(s))
        evidence += evidence_of(density, slab)
        joint = density * prior_of_nodes(belief.weight, slab)
        total = joint.sum()
        add("residual", s * total, s**2 * total)
        for j in range(p + 1):
            name = "intercept" if j == 0 else f"effect marker={j - 1}"
            add(name, np.sum(joint * mean[..., j]), np.sum(joint * square[..., j]))
        own = belief.own and belief.own(np.exp(s))
        for j in range(p):
            add(f"included marker={j}", *[total - joint.take(0, axis=j).sum()] * 2)
            if own:
                parts = ([*slab[:j], part, *slab[j + 1 :]] for part in own[j])
                both = (np.sum(density * prior_of_nodes(belief.weight, part)) for part in parts)
                add(f"{belief.own_name} marker={j}", *both)
    posterior = belief.weight * evidence
    for name, value in belief.values.items():
        add(name, value @ posterior, value**2 @ posterior)
    out = {name: pair / posterior.sum() for name, pair in sums.items()}
    first, second = out["intercept"]
    out["intercept"] = first + column.mu, second + 2 * column.mu * first + column.mu**2
    return {n: (a, np.sqrt(max(b - a**2, 0.0))) for n, (a, b) in out.items()}, evidence


# ---------------------------------------------------------------- priors on the grid


def frozen(prior, k):
    """A `Prior` of numbers as a distribution of SciPy, for column k."""
    value = {n: np.ravel(v)[min(k, np.size(v) - 1)] for n, v in prior.parameters.items()}
    return {
        "InverseGamma": lambda alpha, beta: stats.invgamma(alpha, scale=beta),
        "Gamma": lambda alpha, beta: stats.gamma(alpha, scale=1 / beta),
        "HalfCauchy": lambda beta: stats.halfcauchy(scale=beta),
    }[prior.name](**value)


def quantiles(step, reach=12.0):
    """Probabilities, and their weights in the trapezoidal rule over their log odds."""
    u = expit(np.arange(-reach, reach + step / 2, step))
    w = u * (1 - u)
    return u, w / w.sum()


OWN, OWN_WEIGHT = quantiles(0.3)


def positive(prior, k, step):
    """Logs of the nodes of a positive hyper-parameter, and weights; one node for a number."""
    if not isinstance(prior, nn.Prior):
        value = np.ravel(prior)
        return np.log(value[[min(k, len(value) - 1)]]), np.ones(1)
    u, w = quantiles(step)
    return np.log(frozen(prior, k).ppf(u)), w


def beta_rule(a, b, p):
    """Gauss rule of a beta: exact for the squares of what is linear in each of p + 1 of them."""
    x, w = roots_jacobi(p // 2 + 2, b - 1, a - 1)
    return (1 + x) / 2, w / w.sum()


def probability(prior, p):
    if not isinstance(prior, nn.Prior):
        return np.array([float(prior)]), np.ones(1)
    return beta_rule(prior.parameters["alpha"], prior.parameters["beta"], p)


def dirichlet(a, p):
    """Probabilities (node, class) and weights: one beta after the other of what is left."""
    rules = [beta_rule(a[c], sum(a[c + 1 :]), p) for c in range(len(a) - 1)]
    rows, weights = [], []
    for parts in product(*[list(zip(*rule, strict=True)) for rule in rules]):
        share = np.array([v for v, _ in parts])
        rows.append(np.append(share, 1.0) * np.concatenate([[1.0], np.cumprod(1 - share)]))
        weights.append(np.prod([w for _, w in parts]))
    return np.array(rows), np.array(weights)


def combine(**parts):
    """All combinations of the nodes of several hyper-parameters: values by name, and weights."""
    index = np.indices([len(w) for _, w in parts.values()]).reshape(len(parts), -1)
    values = {n: v[i] for (n, (v, _)), i in zip(parts.items(), index, strict=True)}
    return values, np.prod([w[i] for (_, w), i in zip(parts.values(), index, strict=True)], axis=0)


def always(weights, p):
    """The same weights for every effect and residual variance."""
    return lambda s: [weights] * p


def one_variance(prior, k, p, grid, step):
    values, weight = combine(
        inclusion=probability(prior.inclusion, p),
        slab_variance=positive(prior.slab_variance, k, step),
    )
    chance = values["inclusion"][:, None]
    slab = chance * grid.point(values["slab_variance"]) + (1 - chance) * grid.spike
    return Belief(weight, values, always(slab, p))


def several_variances(prior, k, p, grid, step):
    rows, w = dirichlet(prior.class_probabilities.parameters["a"], p)
    values, weight = combine(
        row=(np.arange(len(w)), w), slab_variance=positive(prior.slab_variance, k, step)
    )
    chance = rows[values.pop("row")]
    slab = chance[:, :1] * grid.spike
    for c, gamma in enumerate(prior.class_variances, start=1):
        slab = slab + chance[:, [c]] * grid.point(values["slab_variance"] + np.log(gamma))
        values[f"class_probabilities class={c}"] = chance[:, c]
    return Belief(weight, values, always(slab, p))


def averaged(grid, log_variance, log_own, inclusion=1.0):
    """Weights of an effect that has a variable for itself, and `Belief.own`; logs (H, quantile)."""
    inclusion = np.broadcast_to(inclusion, len(log_variance))[:, None]
    points, out = grid.point(log_variance) * OWN_WEIGHT[:, None], []
    for power in range(3):
        value = np.broadcast_to(bounded(log_own) ** power, log_variance.shape)
        slab = np.einsum("hmq,hm->hq", points, value)
        spike = (value @ OWN_WEIGHT)[:, None] * grid.spike
        out.append(inclusion * slab + (1 - inclusion) * spike)
    return out


def own_variance(prior, k, p, grid, step):
    inclusion = probability(prior.inclusion, p)
    if prior.slab_variance is not None:
        values, weight = combine(inclusion=inclusion)
        log_own = np.log(frozen(prior.slab_variance, k).ppf(OWN))[None, :].repeat(len(weight), 0)
        log_variance, name = log_own, "slab_variance"
    else:
        values, weight = combine(
            inclusion=inclusion,
            df=positive(prior.df, k, step),
            scale=positive(prior.scale, k, step),
        )
        df, at = np.unique(np.exp(values["df"]), return_inverse=True)
        with np.errstate(over="ignore"):
            log_own = np.log(stats.invgamma.ppf(OWN, df[:, None] / 2, scale=df[:, None] / 2))[at]
        log_variance, name = log_own + values["scale"][:, None], "relative_variance"
    slab, *own = averaged(grid, log_variance, log_own, values["inclusion"])
    return Belief(weight, values, always(slab, p), always(own, p), name)


def lasso(prior, k, p, grid, step):
    values, weight = combine(lambda_squared=positive(prior.lambda_squared, k, step))
    log_tau = np.log(stats.expon.ppf(OWN)) - np.log(0.5) - values["lambda_squared"][:, None]

    def at(s):
        return averaged(grid, log_tau + np.log(s), log_tau)

    return Belief(
        weight, values, lambda s: [at(s)[0]] * p, lambda s: [at(s)[1:]] * p, "tau_squared"
    )


def horseshoe(prior, k, p, grid, step):
    values, weight = combine(
        global_scale=positive(prior.global_scale, k, step),
        slab_variance=positive(prior.slab_variance, k, step),
    )
    log_local = np.log(stats.halfcauchy.ppf(OWN))
    wide = 2 * (values["global_scale"][:, None] + log_local)
    log_v = -np.logaddexp(-wide, -values["slab_variance"][:, None])
    slab, *own = averaged(grid, log_v, log_local)
    return Belief(weight, values, always(slab, p), always(own, p), "local_scale")


RULES = {
    nn.RRBLUP: one_variance,
    nn.BayesC: one_variance,
    nn.BayesA: own_variance,
    nn.BayesB: own_variance,
    nn.BayesL: lasso,
    nn.BayesR: several_variances,
    nn.Horseshoe: horseshoe,
}


def side_by_side(parts):
    """Independent beliefs about some effects each: pairs of their places and a belief."""
    index = np.indices([len(b.weight) for _, b in parts]).reshape(len(parts), -1)
    weight = np.prod([b.weight[at] for (_, b), at in zip(parts, index, strict=True)], axis=0)
    values, owner = {}, {}
    for (places, belief), at in zip(parts, index, strict=True):
        values |= {name: value[at] for name, value in belief.values.items()}
        owner |= {j: (belief, at) for j in places}
    return Belief(
        weight, values, lambda s: [b.slab(s)[0][at] for _, (b, at) in sorted(owner.items())]
    )


def renamed(belief, form):
    values = {form.format(name): value for name, value in belief.values.items()}
    return replace(belief, values=values, own_name=form.format(belief.own_name))


def belief_of(prior, column, columns, markers, grid):
    """A completed prior of one column: by column, by group of markers, or plain."""
    if isinstance(prior, Mapping):
        key = column if column in prior else "*"
        members = [c for c in columns if c not in prior] if key == "*" else [column]
        inner = belief_of(prior[key], column, members, markers, grid)
        return renamed(inner, "rest_{}" if key == "*" else column + "_{}")
    k = columns.index(column)
    if not isinstance(prior, nn.MarkerGroups):
        return RULES[type(prior)](prior, k, len(markers), grid, 0.8)
    parts = []
    for g, group in enumerate(dict.fromkeys(prior.groups[m] for m in markers)):
        places = [j for j, m in enumerate(markers) if prior.groups[m] == group]
        own, form = prior.priors, f"{{}} group={g}"
        if isinstance(own, Mapping):
            label = group if group in own else "rest"
            own, form = own[label], label + "_{}"
        inner = RULES[type(own)](own, k, len(places), grid, 1.2)
        parts.append((places, renamed(inner, form)))
    return side_by_side(parts)


# ---------------------------------------------------------------- data, draws, comparison


def small_data(n=40, p=3, k=2, seed=1):
    """Linked markers and omics that they drive; some cells of the second omic are missing."""
    rng = np.random.default_rng(seed)
    founder = rng.random((n, 2, 1)) < 0.5
    alleles = np.where(rng.random((n, 2, p)) < 0.7, founder, rng.random((n, 2, p)) < 0.5)
    dosages = alleles.sum(axis=1).astype(float)
    values = 0.5 + dosages @ rng.choice([0.5, -0.3, 0.15, 0.0], (p, k))
    values += 0.8 * rng.normal(size=(n, k))
    values[:6, 1] = np.nan
    ids, columns = [f"i{i}" for i in range(n)], [f"omic{c + 1}" for c in range(k)]
    return (
        pd.DataFrame(dosages, ids, [f"snp{j}" for j in range(p)]),
        pd.DataFrame(values, ids, columns),
    )


def omics_network(prior, genotypes, omics, connections=None):
    equation = nn.Equation("omics ~ 1 + geno", priors={"geno": prior}, connections=connections)
    return nn.Network([nn.Layer("geno", genotypes), nn.Layer("omics", omics)], [equation])


def weights_network(prior, omics, traits):
    equation = nn.Equation("traits ~ 1 + omics", priors={"omics": prior})
    layers = [nn.Layer("omics", omics), nn.Layer("traits", traits)]
    return nn.Network(layers, ["omics ~ 1", equation])


def terms_of(network):
    """The last node, its term with a prior of marker effects, and its priors."""
    node, priors = list(network.priors.items())[-1]
    term = next(t for t in priors if t not in ("Intercept", "residual_variance"))
    return node, term, priors


def likelihoods(network, x, values, grid):
    """The likelihood of every column of the last node, its parents being `x`."""
    _, _, priors = terms_of(network)
    normal = priors["Intercept"].parameters
    return {
        c: Column(
            x.to_numpy(),
            values[c].to_numpy(),
            (normal["mu"][k], normal["sigma"][k]),
            frozen(priors["residual_variance"], k),
            grid,
        )
        for k, c in enumerate(values.columns)
    }


def draws_of(posterior, node, term, column, name):
    """Draws (chain, draw) of what the reference calls `name`, as the reference has it."""
    end, *places = name.split()
    variables = {"intercept": "Intercept", "residual": "residual_variance"}
    variables |= dict.fromkeys(("effect", "included"), term)
    values = posterior[f"{node}_{variables.get(end, f'{term}_{end}')}"]
    for place in places:
        axis, position = place.split("=")
        dim = next(d for d in values.dims[2:] if axis == "marker" or d.endswith(axis))
        values = values.isel({dim: int(position)})
    for dim in values.dims[2:]:
        values = values.sel({dim: column})
    draws = values.to_numpy()
    if end == "included":
        return (draws != 0.0).astype(float)
    if end in ("effect", "intercept") or "inclusion" in end or "probabilities" in end:
        return draws
    return bounded(np.log(draws)) if "marker=" in name else np.log(draws)


def compare(posterior, node, term, column, exact):
    """Means and sds of draws beside the exact ones, and z by their Monte Carlo errors."""
    rows = []
    for name, pair in exact.items():
        if pair[1] < 1e-6:  # a number
            continue
        draws = draws_of(posterior, node, term, column, name)
        kinds = ("mean",) if name.startswith("included") else ("mean", "sd")
        for kind, wanted in zip(kinds, pair, strict=False):
            found = draws.mean() if kind == "mean" else draws.std()
            error = float(az.mcse(draws, method=kind))
            if name.startswith("included"):  # of one that is never out the draws tell no error
                error = max(error, pair[1] / np.sqrt(draws.size))
            rows.append((column, name, kind, found, wanted, error, (found - wanted) / error))
    return pd.DataFrame(rows, columns=["column", "name", "of", "found", "exact", "error", "z"])


def sampled(network, draws, seed=1, tune=300):
    return nn.sample(
        network.model,
        draws=draws,
        tune=tune,
        chains=2,
        random_seed=seed,
        progressbar=False,
        quiet=True,
    )["posterior"].dataset


def comparisons(network, columns, markers, grid, **options):
    """All comparisons of one network; `columns` are its likelihoods."""
    node, term, priors = terms_of(network)
    posterior = sampled(network, **options)
    beliefs = {c: belief_of(priors[term], c, list(columns), markers, grid) for c in columns}
    return pd.concat(
        [compare(posterior, node, term, c, moments(columns[c], beliefs[c])[0]) for c in columns],
        ignore_index=True,
    )


# ---------------------------------------------------------------- GBLUP in closed form


def phenotyped(n=40, p=50, n_phenotyped=25, seed=4):
    """Dosages of all, fewer than the markers, and a trait of the first of them."""
    genotypes, _ = small_data(n, p, seed=seed)
    rng = np.random.default_rng(seed)
    z = (genotypes - genotypes.mean()).to_numpy()
    y = 1.0 + z @ rng.normal(0, 0.2, p) + rng.normal(size=n)
    return genotypes, pd.DataFrame({"y": y[:n_phenotyped]}, genotypes.index[:n_phenotyped])


def gblup_exact(kinship, y, intercept, genetic, residual, covariance=None):
    """Mean and sd of mu + g, or of what has this covariance with g of the phenotyped, and variance.

    g ~ N(0, kinship genetic) with the phenotyped first, mu ~ N(intercept), both variances known.
    """
    n, (mu, sd) = len(y), intercept
    whole = genetic * kinship + sd**2
    if covariance is None:
        cross, variance, start = whole[:, :n], np.diag(whole), mu
    else:
        (cross, variance), start = covariance, 0.0
    gain = np.linalg.solve(whole[:n, :n] + residual * np.eye(n), cross.T).T
    return start + gain @ (y - mu), np.sqrt(variance - np.sum(gain * cross, axis=1))


def gblup_comparisons(kind, draws, seed=1, genetic=0.7, residual=0.6):
    """Breeding values and marker effects of a fit with known variances beside the exact ones.

    `kind` is "GBLUP", "RRBLUP" (the same model) or "kinship" (the matrix given as a layer).
    """
    genotypes, trait = phenotyped()
    z, n = (genotypes - genotypes.mean()).to_numpy(), len(trait)
    total = np.sum(z[:n] ** 2) / n
    kinship = z @ z.T / total
    prior = nn.GBLUP(genetic_variance=genetic)
    if kind == "RRBLUP":
        prior = nn.RRBLUP(slab_variance=genetic / total)
    data: Any = genotypes
    if kind == "kinship":
        kinship = 0.8 * kinship + 0.2 * np.eye(len(z))
        data = nn.read_relationship(pd.DataFrame(kinship, genotypes.index, genotypes.index))
    network = nn.Network(
        [nn.Layer("geno", data), nn.Layer("pheno", trait)],
        [nn.Equation("y ~ 1 + geno", priors={"geno": prior, "residual_variance": residual})],
    )
    result = network.fit(
        draws=draws,
        tune=100,
        chains=2,
        random_seed=seed,
        progressbar=False,
        quiet=True,
    )
    normal = network.priors["y"]["Intercept"].parameters
    intercept = normal["mu"][0], normal["sigma"][0]
    y = trait["y"].to_numpy()
    values = nn.breeding_values(result).set_index("individual").loc[genotypes.index]
    exact = gblup_exact(kinship, y, intercept, genetic, residual)
    rows = [_against("ebv", values["ebv"], values["sd"], exact, result)]
    if kind != "kinship":
        effects = nn.marker_effects(result).set_index("marker").loc[list(genotypes)]
        own = genetic / total
        exact = gblup_exact(
            kinship, y, intercept, genetic, residual, (own * z[:n].T, np.full(z.shape[1], own))
        )
        rows.append(_against("effect", effects["mean"], effects["sd"], exact, result))
    return pd.concat(rows, ignore_index=True)


def _against(name, mean, sd, exact, result):
    """z of means and sds of a Gaussian, by the number of effective draws that were kept."""
    draws = result["effect_draws"].dataset["y_geno"].to_numpy()
    n = min(float(az.ess(draws[:, :, j, 0])) for j in range(draws.shape[2]))
    n = min(n, draws.shape[0] * draws.shape[1])
    z = {
        "mean": (mean.to_numpy() - exact[0]) / (exact[1] / np.sqrt(n)),
        "sd": (sd.to_numpy() - exact[1]) / (exact[1] / np.sqrt(2 * n)),
    }
    return pd.concat([pd.DataFrame({"name": name, "of": kind, "z": z[kind]}) for kind in z])


# ---------------------------------------------------------------- tests

GROUPS = {"snp0": "a", "snp1": "b", "snp2": "a"}
DF = nn.Prior("Gamma", alpha=2, beta=0.1)
SCALE = nn.Prior("Gamma", alpha=1.1, beta=2.0)
PRIORS = {
    "BayesB": nn.BayesB(df=DF),
    "BayesL": nn.BayesL(),
    "BayesR": nn.BayesR(),
    "Horseshoe": nn.Horseshoe(),
    "by omic": {"omic1": nn.BayesR(), "*": nn.BayesA(scale=SCALE)},
    "by group": nn.MarkerGroups(GROUPS, nn.BayesC()),
    "by named group": nn.MarkerGroups(GROUPS, {"b": nn.BayesR(), "*": nn.RRBLUP()}),
}


def check(table):
    """Comparisons of one fit are correlated, so that their mean square varies more than chi2's."""
    assert np.isfinite(table["z"]).all() and len(table) > 20
    assert table["z"].abs().max() < 4.5, f"\n{table[table['z'].abs() > 3].to_string()}"
    assert (table["z"] ** 2).mean() < 2.5, f"\n{table.to_string()}"


SLICED = ("BayesB", "Horseshoe")


@pytest.mark.statistical
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLICED else n for n in PRIORS]
)
def test_posterior_is_exact(name):
    genotypes, omics = small_data()
    network = omics_network(PRIORS[name], genotypes, omics)
    grid = Grid()
    columns = likelihoods(network, genotypes - genotypes.mean(), omics, grid)
    check(comparisons(network, columns, list(genotypes), grid, draws=600))


@pytest.mark.statistical
def test_posterior_of_selected_weights_is_exact():
    rng = np.random.default_rng(3)
    omics = pd.DataFrame(rng.normal(0.7, 1.0, (40, 3)), columns=list("abc"))
    effects = np.array([[0.5, 0.0], [0.0, -0.2], [0.1, 0.3]])
    traits = omics.to_numpy() @ effects + 0.7 * rng.normal(size=(40, 2))
    traits = pd.DataFrame(traits, columns=["y", "z"])
    network = weights_network(nn.BayesR(), omics, traits)
    grid = Grid()
    columns = likelihoods(network, omics, traits, grid)
    check(comparisons(network, columns, list(omics), grid, draws=600))


@pytest.mark.statistical
@pytest.mark.parametrize("kind", ["GBLUP", "RRBLUP", "kinship"])
def test_breeding_values_are_those_of_the_mixed_model(kind):
    """Of individuals with and without phenotypes; and the marker effects."""
    check(gblup_comparisons(kind, draws=1000))


def test_defaults_are_those_of_the_docstrings():
    """A heritability of one half, with V / 2 = var(y) / 2 shared by the markers."""
    genotypes, omics = small_data()
    variance = omics.var().to_numpy()
    x = genotypes.var(ddof=0).to_numpy()
    v = 0.5 * variance / x.sum()
    n, p = genotypes.shape

    def completed(prior):
        return omics_network(prior, genotypes, omics).priors["omics"]["geno"]

    def assert_is(prior, name, **parameters):
        assert prior.name == name
        assert set(prior.parameters) == set(parameters)
        for key, value in parameters.items():
            np.testing.assert_allclose(prior.parameters[key], value, rtol=1e-5)

    for prior, share in [
        (nn.RRBLUP(), 1.0),
        (nn.BayesC(), 0.5),
        (nn.BayesC(inclusion=nn.Prior("Beta", alpha=1, beta=3)), 0.25),
        (nn.BayesC(inclusion=0.1), 0.1),
        (nn.BayesR(), (0.01 + 0.1 + 1.0) / 4),
        (nn.BayesR(class_probabilities=[0.7, 0.3], class_variances=(0.5,)), 0.15),
    ]:
        slab = completed(prior).slab_variance
        assert_is(slab, "InverseGamma", alpha=2.5, beta=1.5 * v / share)
    for prior, share in [(nn.BayesA(), 1.0), (nn.BayesB(), 0.5), (nn.BayesB(inclusion=0.1), 0.1)]:
        scale = completed(prior).scale
        assert completed(prior).df == 5
        assert_is(scale, "InverseGamma", alpha=2.5, beta=1.5 * 0.6 * v / share)
    genetic = completed(nn.GBLUP()).genetic_variance
    assert_is(genetic, "InverseGamma", alpha=2.5, beta=1.5 * 0.5 * variance)
    lasso = completed(nn.BayesL()).lambda_squared
    assert_is(lasso, "Gamma", alpha=1.1, beta=0.1 / (2 * x.sum() * np.ones(2)))
    shrinkage = completed(nn.Horseshoe())
    tau = 1 / (p - 1) * np.sqrt(variance / (2 * n * x.mean()))
    assert_is(shrinkage.global_scale, "HalfCauchy", beta=tau)
    assert_is(shrinkage.slab_variance, "InverseGamma", alpha=2.0, beta=2 * v * p)

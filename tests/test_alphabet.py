r"""Posteriors of the priors of the alphabet against numerical integration.

The reference shares no code with the package. Given the variance of every effect and of the
residuals one column of a small problem is a Gaussian with known moments; these are tabulated on a
grid of log variances, one axis an effect, and a prior is nothing but weights on that grid:

    p(y | hyper, s) = sum_{q_1 ... q_p} L_s(q_1, ..., q_p) prod_j W_j(hyper, q_j)

with L_s the likelihood at residual variance s, the first node of each axis the variance zero (the
spike) and W the prior of one effect's variance, integrated against the spline through the nodes.
Hyper-parameters are integrated on the quantiles of their priors, probabilities by Gauss rules that
are exact. `benchmarks/alphabet.py` runs all priors for long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product

import arviz as az
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.interpolate import make_interp_spline
from scipy.special import expit, roots_jacobi

import nnmm_pymc as nn

# ---------------------------------------------------------------- reference


class Grid:
    """Nodes of the log variance of one effect: zero first, then equally spaced."""

    def __init__(self, low=1e-5, high=1e3, step=0.9):
        self.nodes = np.linspace(np.log(low), np.log(high), round(np.log(high / low) / step))
        self.variances = np.concatenate([[0.0], np.exp(self.nodes)])
        self.spline = make_interp_spline(self.nodes, np.eye(len(self.nodes)), k=5)

    def point(self, log_variance):
        """Weights (..., node) of a known variance; below the grid it is zero as far as data tell."""
        inside = np.clip(log_variance, self.nodes[0], self.nodes[-1])
        # Far above it the likelihood falls with the height of the prior at the effect.
        fall = np.exp(-0.5 * np.maximum(log_variance - inside, 0.0))
        weights = self.spline(inside) * fall[..., None]
        return np.concatenate([np.zeros((*weights.shape[:-1], 1)), weights], axis=-1)

    @property
    def spike(self):
        return np.eye(len(self.variances))[0]


class Column:
    """Likelihood and moments of the effects of one column on the grid, for residual variances.

    The intercept is an effect too, with its prior's own variance.
    """

    def __init__(self, x, y, intercept, residual, grid):
        seen = ~np.isnan(y)
        design = np.column_stack([np.ones(seen.sum()), x[seen]])
        mu, sd = intercept
        y, self.mu, p = y[seen] - mu, mu, x.shape[1]
        left = np.linalg.lstsq(design, y, rcond=None)[0]
        low, high = np.log(np.var(y - design @ left)) - 1.3, np.log(np.var(y)) + 1.3
        log_s = np.linspace(low, high, round((high - low) / 0.13))
        self.shape, self.log_s = (len(grid.variances),) * p, log_s
        axes = np.meshgrid(*[grid.variances] * p, indexing="ij")
        spread = np.sqrt(np.stack([np.full(self.shape, sd**2), *axes], axis=-1)).reshape(-1, p + 1)
        gram, right = design.T @ design, design.T @ y
        tables = [self._at(np.exp(s), spread, gram, right) for s in log_s]
        prior = residual.logpdf(np.exp(log_s)) + log_s
        base = prior - 0.5 * len(y) * log_s - 0.5 * y @ y * np.exp(-log_s)
        log_density = np.stack([t[0] for t in tables]) + base[:, None]
        self.density = np.exp(log_density - log_density.max()).reshape(-1, *self.shape)
        self.mean, self.square = (
            np.stack([t[m] for t in tables]).reshape(len(log_s), *self.shape, p + 1) for m in (1, 2)
        )

    @staticmethod
    def _at(s, spread, gram, right):
        """Log likelihood, mean and mean square of the effects at one residual variance."""
        scaled = spread * right / s
        inner = np.eye(len(right)) + spread[:, :, None] * gram * spread[:, None, :] / s
        inverse = np.linalg.inv(inner)
        fit = (inverse @ scaled[..., None])[..., 0]
        log_density = 0.5 * (scaled * fit).sum(-1) - 0.5 * np.linalg.slogdet(inner)[1]
        mean = spread * fit
        return log_density, mean, mean**2 + spread**2 * np.diagonal(inverse, axis1=1, axis2=2)


@dataclass
class Belief:
    """A prior on the grid: hyper-parameters with prior weights, and the prior of each effect.

    Attributes
    ----------
    weight : (H,) prior weights of the hyper-parameters
    values : dict of str to (H,) array, as compared with the draws
    slab : callable of a residual variance, to (p, H, node) weights
    own : callable of the same, to the weights times the first and second power of `bounded` of the
        variable that each effect has for itself; None without one
    own_name : str
    """

    weight: np.ndarray
    values: dict[str, np.ndarray]
    slab: Callable
    own: Callable | None = None
    own_name: str = ""


def bounded(log_value):
    """v / (1 + v): the variances of single effects have too heavy tails for a Monte Carlo error."""
    return expit(log_value)


def outer(weights):
    """Products over some effects of their (H, node) weights: (H, node^m)."""
    out = np.ones((len(weights[0]), 1))
    for w in weights:
        out = (out[:, :, None] * w[:, None, :]).reshape(len(w), -1)
    return out


def evidence_of(density, weights):
    """Likelihood averaged over the variances of all effects, for every hyper-parameter."""
    half = len(weights) // 2
    left, right = outer(weights[:half]), outer(weights[half:])
    return ((left @ density.reshape(left.shape[1], -1)) * right).sum(axis=1)


def averaged_prior(weight, weights):
    """Prior of the nodes of all effects together, averaged over the hyper-parameters."""
    half = len(weights) // 2
    joint = (outer(weights[:half]) * weight[:, None]).T @ outer(weights[half:])
    return joint.reshape([w.shape[1] for w in weights])


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
        joint = density * averaged_prior(belief.weight, slab)
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
                both = (np.sum(density * averaged_prior(belief.weight, part)) for part in parts)
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
    """Probabilities and weights of the trapezoidal rule in their log odds."""
    u = expit(np.arange(-reach, reach + step / 2, step))
    w = u * (1 - u) * step
    return u, w / w.sum()


def log_nodes(prior, k, step):
    """Nodes (in logs) and weights of a positive hyper-parameter; one node for a number."""
    if not isinstance(prior, nn.Prior):
        value = np.ravel(prior)
        return np.log(value[[min(k, len(value) - 1)]]), np.ones(1)
    u, w = quantiles(step)
    return np.log(frozen(prior, k).ppf(u)), w


def beta_nodes(a, b, n=4):
    """Gauss rule of a beta distribution: exact for polynomials up to degree 2n - 1."""
    x, w = roots_jacobi(n, b - 1, a - 1)
    return (1 + x) / 2, w / w.sum()


def inclusion_nodes(prior):
    if isinstance(prior, nn.Prior):
        return beta_nodes(prior.parameters["alpha"], prior.parameters["beta"])
    return np.array([float(prior)]), np.ones(1)


def dirichlet_nodes(a):
    """Probabilities (node, class) and weights: one beta after the other from what is left."""
    rules = [beta_nodes(a[c], sum(a[c + 1 :])) for c in range(len(a) - 1)]
    rows, weights = [], []
    for parts in product(*[list(zip(*rule, strict=True)) for rule in rules]):
        share = np.array([v for v, _ in parts])
        left = np.concatenate([[1.0], np.cumprod(1 - share)])
        rows.append(np.append(share, 1.0) * left)
        weights.append(np.prod([w for _, w in parts]))
    return np.array(rows), np.array(weights)


def combine(**parts):
    """All combinations of the nodes of several hyper-parameters: values by name, and weights."""
    index = np.indices([len(w) for _, w in parts.values()]).reshape(len(parts), -1)
    values = {n: v[i] for (n, (v, _)), i in zip(parts.items(), index, strict=True)}
    weights = [w[i] for (_, w), i in zip(parts.values(), index, strict=True)]
    return values, np.prod(weights, axis=0)


def constant(weights, p):
    """The same (H, node) weights for every effect and residual variance."""
    return lambda s: [weights] * p


def spike_and(grid, inclusion, slab):
    return inclusion[:, None] * slab + (1 - inclusion)[:, None] * grid.spike


def believe(prior, k, p, grid, step=0.5):
    """A completed prior of the alphabet for column k; hyper-parameters at quantiles `step` apart."""
    return {
        "RRBLUP": _one_variance,
        "BayesC": _one_variance,
        "BayesA": _own_variance,
        "BayesB": _own_variance,
        "BayesL": _lasso,
        "BayesR": _several_variances,
        "Horseshoe": _horseshoe,
    }[type(prior).__name__](prior, k, p, grid, step)


def _one_variance(prior, k, p, grid, step):
    values, weight = combine(
        inclusion=inclusion_nodes(prior.inclusion), slab_variance=log_nodes(prior.slab_variance, k, step)
    )
    slab = spike_and(grid, values["inclusion"], grid.point(values["slab_variance"]))
    return Belief(weight, values, constant(slab, p))


def _several_variances(prior, k, p, grid, step):
    probabilities, w = dirichlet_nodes(prior.class_probabilities.parameters["a"])
    values, weight = combine(
        row=(np.arange(len(w)), w), slab_variance=log_nodes(prior.slab_variance, k, step)
    )
    chance = probabilities[values.pop("row")]
    slab = chance[:, :1] * grid.spike
    for c, gamma in enumerate(prior.class_variances, start=1):
        slab = slab + chance[:, [c]] * grid.point(values["slab_variance"] + np.log(gamma))
        values[f"class_probabilities class={c}"] = chance[:, c]
    return Belief(weight, values, constant(slab, p))


def averaged(grid, log_variance, log_own, inclusion):
    """Prior of an effect that has a variable for itself, from (H, node) logs at its quantiles.

    Returns the weights, and these times the first and second power of `bounded` of the variable.
    """
    _, w = quantiles(0.3)
    points = grid.point(log_variance) * w[:, None]
    own = bounded(log_own)
    out = []
    for power in range(3):
        slab = np.einsum("hmq,hm->hq", points, own**power)
        expected = (own**power @ w)[:, None] * grid.spike
        out.append(inclusion[:, None] * slab + (1 - inclusion)[:, None] * expected)
    return out


def _own_variance(prior, k, p, grid, step):
    values, weight = combine(
        inclusion=inclusion_nodes(prior.inclusion),
        df=log_nodes(prior.df, k, step),
        scale=log_nodes(prior.scale, k, step),
    )
    df, scale = np.exp(values["df"])[:, None], np.exp(values["scale"])[:, None]
    log_v = np.log(stats.invgamma.ppf(quantiles(0.3)[0], df / 2, scale=df * scale / 2))
    slab, one, two = averaged(grid, log_v, log_v, values["inclusion"])
    own = constant([one, two], p)
    return Belief(weight, values, constant(slab, p), own, "slab_variance")


def _lasso(prior, k, p, grid, step):
    values, weight = combine(lambda_squared=log_nodes(prior.lambda_squared, k, step))
    rate = 0.5 * np.exp(values["lambda_squared"])[:, None]
    log_tau = np.log(stats.expon.ppf(quantiles(0.3)[0]) / rate)
    always = np.ones(len(weight))

    def at(s):
        return averaged(grid, log_tau + np.log(s), log_tau, always)

    return Belief(
        weight, values, lambda s: [at(s)[0]] * p, lambda s: [at(s)[1:]] * p, "tau_squared"
    )


def _horseshoe(prior, k, p, grid, step):
    values, weight = combine(
        global_scale=log_nodes(prior.global_scale, k, step),
        slab_variance=log_nodes(prior.slab_variance, k, step),
    )
    log_local = np.log(stats.halfcauchy.ppf(quantiles(0.3)[0]))[None, :]
    wide = 2 * (values["global_scale"][:, None] + log_local)
    log_v = -np.logaddexp(-wide, -values["slab_variance"][:, None])
    log_own = np.broadcast_to(log_local, log_v.shape)
    slab, one, two = averaged(grid, log_v, log_own, np.ones(len(weight)))
    own = constant([one, two], p)
    return Belief(weight, values, constant(slab, p), own, "local_scale")


def side_by_side(parts):
    """Independent beliefs about some effects each, by label: ``{label: (markers, belief)}``."""
    index = np.indices([len(b.weight) for _, b in parts.values()]).reshape(len(parts), -1)
    weights, values, owner = [], {}, {}
    for (label, (markers, belief)), at in zip(parts.items(), index, strict=True):
        weights.append(belief.weight[at])
        values |= {label(name): value[at] for name, value in belief.values.items()}
        owner |= {j: (belief, at) for j in markers}

    def slab(s):
        return [owner[j][0].slab(s)[0][owner[j][1]] for j in range(len(owner))]

    return Belief(np.prod(weights, axis=0), values, slab)


def belief_of(prior, column, columns, markers, grid):
    """The prior of the effects on one column; names as in the model."""
    if isinstance(prior, Mapping):
        key = column if column in prior else "*"
        members = [c for c in columns if c not in prior] if key == "*" else [column]
        label = "rest" if key == "*" else column
        inner = belief_of(prior[key], column, members, markers, grid)
        own = f"{label}_{inner.own_name}" if inner.own else ""
        values = {f"{label}_{name}": value for name, value in inner.values.items()}
        return replace(inner, values=values, own_name=own)
    k, p = columns.index(column), len(markers)
    if not isinstance(prior, nn.MarkerGroups):
        return believe(prior, k, p, grid)
    labels = list(dict.fromkeys(prior.groups[m] for m in markers))
    parts = {}
    for g, label in enumerate(labels):
        members = [j for j, m in enumerate(markers) if prior.groups[m] == label]
        if isinstance(prior.priors, Mapping):
            named = label if label in prior.priors else "rest"
            own, rename = prior.priors[named], f"{named}_{{}}".format
        else:
            own, rename = prior.priors, f"{{}} group={g}".format
        parts[rename] = (members, believe(own, k, len(members), grid, step=1.0))
    return side_by_side(parts)


# ---------------------------------------------------------------- comparison


def linked_markers(n, p, rng):
    """Dosages of linked markers."""
    founder = rng.random((n, 2, 1)) < 0.5
    alleles = np.where(rng.random((n, 2, p)) < 0.7, founder, rng.random((n, 2, p)) < 0.5)
    return alleles.sum(axis=1).astype(float)


def small_data(n=40, p=3, k=2, seed=1):
    """Genotypes and omics, a few cells of the second omic missing."""
    rng = np.random.default_rng(seed)
    ids = [f"i{i}" for i in range(n)]
    dosages = linked_markers(n, p, rng)
    effects = rng.choice([0.6, -0.3, 0.15, 0.0], (p, k))
    values = 0.5 + dosages @ effects + 0.8 * rng.normal(size=(n, k))
    values[:6, 1:2] = np.nan
    markers, columns = [f"snp{j}" for j in range(p)], [f"omic{c + 1}" for c in range(k)]
    return pd.DataFrame(dosages, ids, markers), pd.DataFrame(values, ids, columns)


def omics_network(prior, genotypes, omics, connections=None):
    equation = nn.Equation("omics ~ 1 + geno", priors={"geno": prior}, connections=connections)
    return nn.Network([nn.Layer("geno", genotypes), nn.Layer("omics", omics)], [equation])


def weights_network(prior, omics, traits):
    equation = nn.Equation("traits ~ 1 + omics", priors={"omics": prior})
    layers = [nn.Layer("omics", omics), nn.Layer("traits", traits)]
    return nn.Network(layers, ["omics ~ 1", equation])


def draws_of(posterior, node, term, column, name):
    """Draws (chain, draw) of what the reference calls `name`."""
    end, *places = name.split()
    special = {
        "intercept": f"{node}_Intercept",
        "residual": f"{node}_residual_variance",
        "effect": f"{node}_{term}",
        "included": f"{node}_{term}",
    }
    variable = special.get(end, f"{node}_{term}_{end}")
    if variable not in posterior:
        return None
    values = posterior[variable]
    for place in places:
        axis, position = place.split("=")
        dim = next(d for d in values.dims[2:] if d.endswith(axis) or axis == "marker")
        values = values.isel({dim: int(position)})
    for dim in values.dims[2:]:
        values = values.sel({dim: column})
    values = values.to_numpy()
    if end == "included":
        return (values != 0.0).astype(float)
    if end in ("effect", "intercept") or "inclusion" in end or "probabilities" in end:
        return values
    return bounded(np.log(values)) if places and "marker" in places[0] else np.log(values)


def compare(result, node, term, column, reference):
    """Means and sds of draws beside the exact ones, and z by the Monte Carlo error."""
    rows = []
    for name, exact in reference.items():
        draws = draws_of(result["posterior"].dataset, node, term, column, name)
        if draws is None or exact[1] < 1e-6:
            continue
        for which, wanted in zip(("mean", "sd"), exact, strict=True):
            if which == "sd" and name.startswith("included"):
                continue
            found = draws.mean() if which == "mean" else draws.std()
            error = float(az.mcse(draws, method=which))
            rows.append((column, name, which, found, wanted, error, (found - wanted) / error))
    names = ["column", "name", "of", "found", "exact", "error", "z"]
    return pd.DataFrame(rows, columns=names)


def references(network, x, values, grid, beliefs=None):
    """Exact posterior of every column of the last node."""
    node = list(network.priors)[-1]
    priors = network.priors[node]
    columns, markers = list(values.columns), list(x.columns)
    term = next(t for t in priors if t not in ("Intercept", "residual_variance"))
    out = {}
    for k, column in enumerate(columns):
        normal = priors["Intercept"].parameters
        likelihood = Column(
            x.to_numpy(),
            values[column].to_numpy(),
            (normal["mu"][k], normal["sigma"][k]),
            frozen(priors["residual_variance"], k),
            grid,
        )
        out[column] = likelihood, belief_of(priors[term], column, columns, markers, grid)
    return node, term, out


def sampled(network, draws, seed=1, chains=2, tune=500, keep=()):
    return nn.sample(
        network.model,
        draws=draws,
        tune=tune,
        chains=chains,
        random_seed=seed,
        progressbar=False,
        quiet=True,
        keep=keep,
    )


def table_of(network, x, values, grid, draws, **options):
    """All comparisons of one network."""
    node, term, columns = references(network, x, values, grid)
    result = sampled(network, draws, **options)
    return pd.concat(
        [compare(result, node, term, c, moments(*columns[c])[0]) for c in columns],
        ignore_index=True,
    )

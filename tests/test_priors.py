"""Every prior of the alphabet: the conditionals that its steps draw from against the model."""

import numpy as np
import pandas as pd
import pymc as pm
import pytest
from scipy import stats
from scipy.special import logsumexp

import nnmm_pymc as nn
from nnmm_pymc import MarkerGibbs
from nnmm_pymc.steps import assign_steps
from nnmm_pymc.steps.conditional import ConditionalModel
from nnmm_pymc.steps.conjugate import ConjugateGibbs
from nnmm_pymc.steps.selection import SelectionGibbs
from nnmm_pymc.steps.slice import SliceGibbs

QUICK = "FAST_COMPILE"
GROUPS = {"snp1": "a", "snp2": "b", "snp3": "a", "snp4": "a", "snp5": "b"}
PRIORS = {
    "RRBLUP": nn.RRBLUP(),
    "GBLUP": nn.GBLUP(),
    "BayesA": nn.BayesA(),
    "BayesA, scale learned": nn.BayesA(scale=nn.Prior("Gamma", alpha=1.1, beta=2.0)),
    "BayesA, own prior": nn.BayesA(
        nn.Prior("InverseGamma", alpha=2.5, beta=nn.Prior("Gamma", alpha=1.1, beta=2.0))
    ),
    "BayesB": nn.BayesB(inclusion=0.3),
    "BayesB, df learned": nn.BayesB(df=nn.Prior("Gamma", alpha=2, beta=0.1)),
    "BayesC": nn.BayesC(),
    "BayesC, shared": nn.BayesC(inclusion=nn.Prior("Beta", alpha=1, beta=1, dims=())),
    "BayesL": nn.BayesL(),
    "BayesL, fixed": nn.BayesL(lambda_squared=30.0),
    "BayesR": nn.BayesR(),
    "BayesR, two normals": nn.BayesR(
        class_probabilities=nn.Prior("Dirichlet", a=[5, 2, 1]), class_variances=(0.2, 1.0)
    ),
    "Horseshoe": nn.Horseshoe(),
    "by omic": {"omic1": nn.BayesR(), "*": nn.BayesC()},
    "by group": nn.MarkerGroups(GROUPS, nn.BayesR()),
    "by named group": nn.MarkerGroups(GROUPS, {"a": nn.BayesC(), "*": nn.BayesA(df=4.0)}),
}


def small_network(prior, n=50, p=5):
    data = nn.simulate(n, p, 2, activation="identity", n_causal=2, n_chromosomes=1, random_seed=5)
    return nn.Network(
        [nn.Layer("geno", data.genotypes), nn.Layer("omics", data.omics)],
        [nn.Equation("omics ~ 1 + geno", priors={"geno": prior})],
    )


def hold_random_classes(conditional, point, rng):
    """Put every effect that is not zero in any class that is open to it; -1 stands for zero."""
    conditional.refresh(point)
    for name, mixture in conditional.mixtures.items():
        weights = conditional.compile([mixture.weights], mode=QUICK)(point)[0]
        chance = np.where(weights > 0, rng.random((*point[name].shape, mixture.n_classes)), -1.0)
        mixture.hold(point[name], np.where(point[name] == 0, -1, chance.argmax(axis=-1)))


def given_classes(conditional, model, jacobian):
    """Log density of the model; of effects and their classes where the slab has several normals."""
    if not conditional.mixtures:
        return model.compile_logp(jacobian=jacobian, mode=QUICK)
    density = sum(factor.sum() for factor in conditional.factors.values())
    if jacobian:
        held = conditional.conditional
        density = density + held.logp() - held.logp(jacobian=False)
    function = conditional.compile([density], mode=QUICK)
    return lambda point: function(point)[0]


@pytest.mark.parametrize("name", PRIORS)
def test_conditionals_are_those_of_the_model(name):
    """Differences of the update's log density equal differences of the model's."""
    model = small_network(PRIORS[name]).model
    plan = assign_steps(model)
    conditional = plan.conditional
    names = {value: rv.name for value, rv in conditional.rvs.items()}
    rng = np.random.default_rng(1)
    plain = given_classes(conditional, model, jacobian=False)
    with_jacobian = given_classes(conditional, model, jacobian=True)
    checked = set()
    for point in conditional.prior_points(seed=4, size=3):
        hold_random_classes(conditional, point, rng)
        for step in plan.compound.methods:
            if isinstance(step, ConjugateGibbs):
                for c, (eta, unit) in zip(step.conjugates, step.parameters(point), strict=True):
                    natural = conditional.compile([conditional.natural(c.value)], mode=QUICK)
                    moved = shifted(point, c.value, rng.normal(0, 0.3, point[c.value].shape))
                    here, there = (log_density(c, eta, unit, natural(q)[0]) for q in (point, moved))
                    assert there - here == close(plain(moved) - plain(point)), c.value
                    checked.add(names[c.value])
            elif isinstance(step, SliceGibbs):
                (value,) = (v.name for v in step.vars)
                step.density.prepare(point)
                for element in np.ndindex(point[value].shape):
                    shift = np.zeros(point[value].shape)
                    shift[element] = rng.normal(0, 0.3)
                    moved = shifted(point, value, shift)
                    here, there = (step.density(q[value])[0] for q in (point, moved))
                    expected = with_jacobian(moved) - with_jacobian(point)
                    assert (there - here)[element] == close(expected), value
                checked.add(names[value])
    assert "omics_residual_variance" in checked
    own = {n for n in names.values() if n.startswith("omics_geno_")}
    assert own <= checked


def close(expected):
    return pytest.approx(expected, rel=1e-6, abs=1e-7)


def shifted(point, value, shift):
    return point | {value: point[value] + shift}


def log_density(c, eta, unit, v):
    """Log density of the full conditional, of the untransformed variable."""
    if c.family == "simplex":
        return np.sum(eta[0] * np.log(v))
    if c.family == "probability":
        return np.sum(eta[0] * np.log(v) + eta[1] * np.log1p(-v))
    v = v / np.asarray(unit)
    zero = np.zeros(1)
    chi, psi = eta.get(1, zero), eta.get(2, zero)
    return np.sum(eta[0] * np.log(v) - 0.5 * chi / v - 0.5 * psi * v)


@pytest.mark.parametrize("name", ["BayesR", "by omic", "by group"])
def test_classes_sum_to_the_density_of_the_effects(name):
    """The density of an effect and its class, summed over the classes, is that of `MarkerEffects`.

    So the effects are right whatever is drawn given the classes. Both relative to a zero effect.
    """
    model = small_network(PRIORS[name]).model
    conditional = ConditionalModel(model)
    mixture = conditional.mixtures["omics_geno"]
    parts = [conditional.factors[f].sum() for f in conditional.effect_factors("omics_geno")]
    joint = conditional.compile([sum(parts)], mode=QUICK)
    marginal = model.compile_fn(
        model.logp(vars=[model["omics_geno"]], jacobian=False),
        inputs=model.value_vars,
        point_fn=True,
        mode=QUICK,
        on_unused_input="ignore",
    )
    rng = np.random.default_rng(5)
    n_checked = 0
    for point in conditional.prior_points(seed=2, size=4):
        hold_random_classes(conditional, point, rng)
        classes = mixture.classes.copy()
        for effect in zip(*np.nonzero(point["omics_geno"]), strict=True):

            def at(value, c, effect=effect, classes=classes, point=point):
                moved, new = point["omics_geno"].copy(), classes.copy()
                moved[effect], new[effect] = value, c
                moved = point | {"omics_geno": moved}
                mixture.hold(moved["omics_geno"], new)
                return joint(moved)[0], marginal(moved)

            none, reference = at(0.0, -1)
            value = point["omics_geno"][effect]
            by_class = [at(value, c)[0] - none for c in range(mixture.n_classes)]
            wanted = at(value, 0)[1] - reference
            assert logsumexp(by_class) == pytest.approx(wanted, rel=1e-8, abs=1e-8)
            n_checked += 1
    assert n_checked > 10


class GivenNumbers:
    """Stands in for a generator: every random number is set by hand."""

    def __init__(self, uniforms, normals):
        self.uniforms, self.normals = uniforms, normals

    def random(self, shape):
        return self.uniforms.reshape(shape)

    def standard_normal(self, shape):
        return self.normals.reshape(shape)


def drawn_mixture(step, point, effect, uniforms, normals):
    """Probability, mean and sd of each class of one effect as the step draws it; spike last.

    The draw is read by moving the effect's own two random numbers, those of others being fixed.
    """

    def draw(uniform, normal):
        u, z = uniforms.copy(), normals.copy()
        u[effect], z[effect] = uniform, normal
        step.rng = GivenNumbers(u, z)
        step.conditional.refresh(point)
        new = step.step(point)[0][step.vars[0].name]
        return new[effect], step.mixture.classes[effect], new

    edges, found = [0.0], []
    while edges[-1] < 1:
        low, high, own = edges[-1], 1.0, draw(edges[-1] + 1e-13, 0.0)[1]
        for _ in range(48):
            middle = (low + high) / 2
            low, high = (middle, high) if draw(middle, 0.0)[1] == own else (low, middle)
        inside = (edges[-1] + high) / 2
        mean = draw(inside, 0.0)[0]
        found.append((own, high - edges[-1], mean, draw(inside, 1.0)[0] - mean))
        edges.append(high if high < 1 - 1e-12 else 1.0)
    return found, draw(0.5, 0.0)[2]


@pytest.mark.parametrize("kind", ["markers", "weights"])
def test_a_mixture_is_drawn_from_its_conditional(kind, monkeypatch):
    """Class probabilities, means and sds of the draw of every effect against the model's density.

    Effects before it in the sweep have their new values, those behind it their old ones.
    """
    if kind == "markers":
        model, name, method = small_network(PRIORS["by group"]).model, "omics_geno", MarkerGibbs
    else:
        model, name, method = weights_network(nn.BayesR()).model, "pheno_omics", SelectionGibbs
        monkeypatch.setattr("nnmm_pymc.steps.selection.SWEEPS", 1)
    step = step_of(method, model, name)
    if kind == "markers":
        monkeypatch.setattr(step, "scale", None)
    point = step.conditional.prior_points(seed=3, size=1)[0]
    step.setup_chain(np.random.default_rng(0), 1, 1)
    logp = model.compile_logp(jacobian=False, mode=QUICK)
    rng = np.random.default_rng(2)
    shape = point[name].shape
    uniforms, normals = rng.random(shape), rng.normal(size=shape)
    n_classes = []
    for k in range(shape[1]):
        for j in range(shape[0]):
            found, new = drawn_mixture(step, point, (j, k), uniforms, normals)
            state = np.where(order(shape) < order(shape)[j, k], new, point[name])

            def model_density(a, state=state, at=(j, k)):
                state = state.copy()
                state[at] = a
                return logp(point | {name: state})

            slab = [(p, m, s) for c, p, m, s in found if c >= 0]
            spike = sum(p for c, p, _, _ in found if c < 0)
            differences = [model_density(0.0) - np.log(spike)]
            for a in slab[-1][1] + slab[-1][2] * np.array([-2.0, 0.3, 3.0]):
                drawn = logsumexp([np.log(p) + stats.norm.logpdf(a, m, s) for p, m, s in slab])
                differences.append(model_density(a) - drawn)
            assert np.ptp(differences) < 1e-4
            n_classes.append(len(slab))
    assert max(n_classes) == 3


def step_of(method, model, name):
    conditional = ConditionalModel(model)
    return method([conditional.model_value(name)], model=model, conditional=conditional)


def order(shape):
    """Place of every effect in the sweep."""
    return np.arange(np.prod(shape)).reshape(shape)


def weights_network(prior, missing=0.0, term="omics"):
    """Traits on omics, weakly, so that weights are now in and now out."""
    rng = np.random.default_rng(3)
    omics = rng.normal(0.5, 1.0, (40, 4))
    traits = omics @ rng.normal(0, 0.2, (4, 2)) + rng.normal(size=(40, 2))
    omics[rng.random(omics.shape) < missing] = np.nan
    return nn.Network(
        [
            nn.Layer("omics", pd.DataFrame(omics, columns=list("abcd"))),
            nn.Layer("pheno", pd.DataFrame(traits, columns=["y", "z"])),
        ],
        ["omics ~ 1", nn.Equation(f"pheno ~ 1 + {term}", priors={"omics": prior})],
    )


@pytest.mark.parametrize(
    ("prior", "options"),
    [
        (nn.BayesC(), {}),
        (nn.BayesR(), {"missing": 0.2, "term": "tanh(omics)"}),
        (nn.BayesL(), {"missing": 0.2}),
    ],
)
def test_quadratic_form_of_selected_weights_is_that_of_the_model(prior, options):
    """-b'Pb/2 + h'b against the model's log density without the factor of the weights' prior."""
    model = weights_network(prior, **options).model
    step = step_of(SelectionGibbs, model, "pheno_omics")
    rest = model.logp(jacobian=False) - model.logp(vars=[model["pheno_omics"]], jacobian=False)
    density = model.compile_fn(rest, inputs=model.value_vars, point_fn=True, mode=QUICK)
    rng = np.random.default_rng(7)
    for point in step.conditional.prior_points(seed=6, size=3):
        step.conditional.refresh(point)
        precision, linear = step.quadratic(point)
        differences = []
        for _ in range(4):
            b = rng.normal(size=linear.size)
            moved = point | {"pheno_omics": b.reshape(4, 2)}
            differences.append(density(moved) - (linear @ b - 0.5 * b @ precision @ b))
        assert np.ptp(differences) < 1e-6 * (np.abs(differences[0]) + 1)


def test_numbers_and_shared_priors_are_fitted_and_predicted():
    """A fixed parameter or one shared by all columns is in the result like any other."""
    data = nn.simulate(60, 20, 3, activation="identity", missing="cells", random_seed=2)
    network = nn.Network(
        [
            nn.Layer("geno", data.genotypes),
            nn.Layer("omics", data.omics),
            nn.Layer("pheno", data.phenotypes),
        ],
        [
            nn.Equation(
                "omics ~ 1 + geno",
                priors={"Intercept": 0.0, "residual_variance": nn.Prior("HalfNormal", dims=())},
            ),
            nn.Equation(
                "y ~ 1 + omics",
                priors={"residual_variance": 0.5, "omics": lambda name: pm.Normal(name, 0, 1)},
            ),
        ],
    )
    result = network.fit(
        draws=20, tune=20, chains=2, cores=1, random_seed=1, progressbar=False, quiet=True
    )
    posterior = result["posterior"]
    assert np.all(posterior["y_residual_variance"] == 0.5)
    assert np.all(posterior["omics_Intercept"] == 0.0)
    assert posterior["y_omics"].shape == (2, 20)
    table = network.predict(result, data.genotypes, data.omics)
    assert np.isfinite(table.select_dtypes("number")).all(axis=None)
    known = nn.breeding_values(result).query("trait == 'y'")["ebv"].to_numpy()
    np.testing.assert_allclose(table["ebv"], known, atol=1e-6)


def test_a_hand_written_model_with_scalar_hyper_parameters_runs():
    data = nn.simulate(60, 20, 2, random_seed=1)
    genotypes = nn.read_genotypes(data.genotypes)
    with pm.Model(coords={"marker": list(genotypes.markers)}) as model:
        inclusion = pm.Beta("inclusion", 1, 1)
        variance = pm.InverseGamma("slab_variance", 2.5, 0.2)
        effects = nn.MarkerEffects("effects", inclusion, variance, dims="marker")
        value = pm.Deterministic("value", nn.genetic_value(genotypes, effects))
        residual = pm.InverseGamma("residual_variance", 2.5, 1.0)
        observed = data.phenotypes["y"].to_numpy()
        pm.Normal("y", value, pm.math.sqrt(residual), observed=observed)
    result = nn.sample(
        model, draws=30, tune=10, chains=2, cores=1, random_seed=1, progressbar=False, quiet=True
    )
    assert result["posterior"]["slab_variance"].shape == (2, 30)
    assert len(nn.marker_effects(result)) == 20


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        ({"inclusion": lambda name: pm.Normal(name, 3.0, 1.0)}, "inclusion probability is"),
        ({"inclusion": np.array([1.3, 1.3])}, "inclusion probability is 1.3"),
        ({"slab_variance": lambda name: pm.Normal(name, -3.0, 1.0)}, "slab variance is -"),
        ({"slab_variance": lambda name: None}, "returns nothing"),
    ],
)
def test_parameters_out_of_bounds_are_refused(prior, words):
    """A forgotten link function must not run."""
    network = small_network(nn.BayesC(**prior))
    with pytest.raises(nn.InputError, match=words):
        nn.assign_steps(network.model)


def test_an_inclusion_that_could_pass_one_never_does():
    """Its prior allows it; the density of the effects does not."""
    network = small_network(nn.BayesC(inclusion=lambda name: pm.HalfNormal(name, 0.15)))
    result = nn.sample(
        network.model,
        draws=300,
        tune=100,
        chains=2,
        cores=1,
        random_seed=1,
        progressbar=False,
        quiet=True,
    )
    assert result["posterior"]["omics_geno_inclusion"].max() <= 1.0


def test_a_misspelt_parameter_is_refused():
    network = nn.Network(
        [nn.Layer("geno", np.eye(4)), nn.Layer("pheno", _numbers())],
        [nn.Equation("y ~ 1 + geno", priors={"Intercept": nn.Prior("Normal", mean=1000)})],
    )
    with pytest.raises(nn.InputError, match="Normal has no parameter 'mean'"):
        network.fit(draws=1)


def test_a_prior_may_take_its_shape_from_dims():
    prior = nn.Prior("ZeroSumNormal", sigma=1.0)
    omics = pd.DataFrame({"e1": [0.0, 1.0, 3.0], "e2": [1.0, 1.0, 2.0]}, list("123"))
    model = nn.Network(
        [nn.Layer("omics", omics), nn.Layer("pheno", _numbers())],
        ["omics ~ 1", nn.Equation("y ~ 1 + omics", priors={"omics": prior})],
    ).model
    assert model["y_omics"].shape.eval().tolist() == [2, 1]


@pytest.mark.parametrize(
    ("name", "prior", "words"),
    [
        ("Intercept", pm.Normal.dist(), r"'y_Intercept' is a PyMC distribution without a name"),
        ("Intercept", nn.Prior("Normal", mu=[1.0, 2.0, 3.0], sigma=1.0), r"\(3,\) where \(1,\)"),
        ("Intercept", np.zeros(3), r"'y_Intercept' has shape \(3,\) where \(1,\)"),
        ("residual_variance", lambda name: pm.HalfNormal(name, shape=4), r"\(4,\) where \(1,\)"),
        ("omics", nn.Prior("Normal", mu=0.0, sigma=np.ones(2)), r"\(2,\) where .2, 1. .*omic"),
        ("omics", np.ones((3, 1)), r"'y_omics' has shape \(3, 1\) where \(2, 1\)"),
        ("omics", nn.BayesC(slab_variance=nn.Prior("HalfNormal", sigma=np.ones(7))), r"\(7,\)"),
    ],
)
def test_a_prior_of_another_shape_is_refused(name, prior, words):
    omics = pd.DataFrame({"e1": [0.0, 1.0, 3.0, 2.0], "e2": [1.0, 1.0, 2.0, 0.0]}, list("1234"))
    network = nn.Network(
        [nn.Layer("omics", omics), nn.Layer("pheno", _numbers())],
        ["omics ~ 1", nn.Equation("y ~ 1 + omics", priors={name: prior})],
    )
    with pytest.raises(nn.InputError, match=words):
        network.fit(draws=1)


@pytest.mark.parametrize(
    ("connections", "words"),
    [
        ({"y": ["m9"]}, "'m9'"),
        ({"z": ["m1"]}, "'z'"),
        ({"y": "m1"}, "list of names"),
        ({"gen": {"y": ["m1"]}}, "no term"),
    ],
)
def test_connections_that_name_nothing_are_refused(connections, words):
    layers = [nn.Layer("geno", np.eye(4)), nn.Layer("pheno", _numbers())]
    with pytest.raises(nn.InputError, match=words):
        nn.Network(layers, [nn.Equation("y ~ 1 + geno", connections=connections)])


def _numbers():
    return pd.DataFrame({"y": [1.0, 2.0, 4.0, 3.0]}, index=["1", "2", "3", "4"])

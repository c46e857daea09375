"""Activations by name, in PyTensor, NumPy and numba, and their moments under a normal."""

import numpy as np
import pandas as pd
import pytensor.tensor as pt
import pytest
from scipy.special import expit
from scipy.stats import norm

from nnmm_pymc.activations import (
    LEAK,
    NUMPY_ACTIVATIONS,
    gaussian_moments,
    pytensor_activation,
)
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import ACTIVATIONS
from nnmm_pymc.kernels.activate import ACTIVATION_CODES, activate_all
from nnmm_pymc.kernels.elementary import exp, log
from nnmm_pymc.network import Layer, Network

QUICK = "FAST_COMPILE"
POINTS = np.array([-700.0, -3.0, -0.5, -1e-9, 1e-9, 0.2, 1.0, 40.0, 700.0])
BY_HAND = {
    "identity": lambda z: z,
    "tanh": lambda z: 1 - 2 / (np.exp(2 * min(z, 300)) + 1),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)) if z > -600 else np.exp(z),
    "relu": lambda z: max(z, 0.0),
    "leaky_relu": lambda z: z if z > 0 else 0.01 * z,
}
SLOPES = {
    "identity": np.ones_like,
    "tanh": lambda z: 1.0 - np.tanh(z) ** 2,
    "sigmoid": lambda z: expit(z) * expit(-z),
    "relu": lambda z: np.where(z > 0.0, 1.0, 0.0),
    "leaky_relu": lambda z: np.where(z > 0.0, 1.0, LEAK),
}


def test_every_name_of_a_formula_has_every_form():
    assert set(ACTIVATIONS) == set(NUMPY_ACTIVATIONS) == set(ACTIVATION_CODES) == set(BY_HAND)
    for name in ACTIVATIONS:
        assert callable(pytensor_activation(name))


@pytest.mark.parametrize("name", BY_HAND)
def test_values_agree(name):
    expected = [BY_HAND[name](z) for z in POINTS]
    np.testing.assert_allclose(NUMPY_ACTIVATIONS[name](POINTS), expected, rtol=1e-7, atol=1e-15)
    graph = pytensor_activation(name)(pt.as_tensor(POINTS))
    np.testing.assert_allclose(graph.eval(mode=QUICK), expected, rtol=1e-7, atol=1e-15)


@pytest.mark.parametrize("name", BY_HAND)
def test_the_fused_kernel_has_the_values_and_slopes(name):
    leak = LEAK if name == "leaky_relu" else 0.0
    points = POINTS[np.abs(POINTS) > 1e-3]
    value, slope = np.empty((2, len(points)))
    activate_all(ACTIVATION_CODES[name], leak, points, 0.0, 1.0, value, slope)
    for k, z in enumerate(points):
        assert value[k] == pytest.approx(BY_HAND[name](z), rel=1e-7, abs=1e-15)
        difference = (BY_HAND[name](z + 1e-5) - BY_HAND[name](z - 1e-5)) / 2e-5
        assert slope[k] == pytest.approx(difference, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_whole_array_is_activated_as_its_elements(name):
    """Standardised on the way, to the rounding error of the exponential, and at the far ends."""
    z = np.concatenate([np.linspace(-30, 30, 401), [-1e300, -1e3, 1e3, 1e300]])
    value, slope = np.empty((2, len(z)))
    leak = LEAK if name == "leaky_relu" else 0.0
    activate_all(ACTIVATION_CODES[name], leak, 3.0 * z + 0.7, 0.7, 3.0, value, slope)
    np.testing.assert_allclose(value, NUMPY_ACTIVATIONS[name](z), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(3.0 * slope, SLOPES[name](z), rtol=1e-12, atol=1e-15)


def test_exponential_and_logarithm_are_right_to_the_last_digit():
    rng = np.random.default_rng(0)
    x = np.concatenate([10.0 ** rng.uniform(-300, 300, 1000), rng.uniform(0.5, 2.0, 1000), [1.0]])
    np.testing.assert_allclose([log(v) for v in x], np.log(x), rtol=3e-16, atol=0.0)
    x = np.concatenate([rng.uniform(-700, 700, 1000), rng.normal(size=1000), [0.0]])
    np.testing.assert_allclose([exp(v) for v in x], np.exp(x), rtol=1e-15, atol=0.0)


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("sd", [0.01, 0.5, 1.0, 3.0, 20.0])
def test_moments_under_a_normal(name, sd):
    """Omics need not be on unit scale: the moments hold for any spread."""
    nodes = np.linspace(-9, 9, 20_001)
    weights = norm.pdf(nodes) / norm.pdf(nodes).sum()
    means = sd * np.array([-4.0, -1.0, 0.0, 0.3, 2.5]) + np.array([0.0, 0.0, 0.0, 0.5, -0.5])
    mean, variance = gaussian_moments(name, means, np.full(5, sd))
    values = NUMPY_ACTIVATIONS[name](means[:, None] + sd * nodes)
    expected = values @ weights
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(mean, expected, atol=2e-4 * scale)
    spread = (values - expected[:, None]) ** 2 @ weights
    np.testing.assert_allclose(variance, spread, atol=1e-3 * max(1.0, spread.max()))


@pytest.mark.parametrize("name", BY_HAND)
def test_moments_without_spread(name):
    """A cell that is known: the activation itself, no variance."""
    means = np.array([-2.0, 0.0, 0.7])
    mean, variance = gaussian_moments(name, means, np.zeros(3))
    np.testing.assert_allclose(mean, NUMPY_ACTIVATIONS[name](means), atol=1e-7)
    np.testing.assert_allclose(variance, 0.0, atol=1e-6)


@pytest.mark.parametrize("function", ["scale(scale(omics))", "scale(tanh(omics))", "tahn(omics)"])
def test_functions_of_omics_are_activations_around_one_scale(function):
    rng = np.random.default_rng(0)
    tables = {k: pd.DataFrame(rng.normal(size=(5, 2))).add_prefix(k) for k in ("omics", "pheno")}
    layers = [Layer(name, table) for name, table in tables.items()]
    with pytest.raises(InputError, match="is not understood; activations are identity, tanh, "):
        Network(layers, ["omics ~ 1", f"pheno ~ 1 + {function}"])


def test_moments_broadcast():
    mean, variance = gaussian_moments("tanh", np.zeros((4, 1, 3)), np.ones((2, 1)))
    assert mean.shape == variance.shape == (4, 2, 3)

"""The numba kernels against dense NumPy in float64, and the sweep against exact enumeration."""

import os
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from scipy.stats import kstest

from nnmm_pymc.kernels.genotypes import TILE, genetic_values, marker_products, masked_gram
from nnmm_pymc.kernels.llvm import processor_has
from nnmm_pymc.kernels.markers import BLOCK, sweep
from nnmm_pymc.kernels.packed import CHUNK, DIGITS, GROUP, NOT_PACKED, pack, split
from nnmm_pymc.kernels.products import CHUNKS, SUMS, packed_products
from nnmm_pymc.kernels.scale import draw_scale


def make_genotypes(p, n, dtype, seed=0):
    """Dosages with missing calls, their centre, and the same centred in float64 (missing = 0)."""
    rng = np.random.default_rng(seed)
    dosages = rng.integers(0, 3, (p, n)).astype(dtype)
    if dtype == np.float32:
        dosages = np.clip(dosages + rng.normal(0, 0.2, (p, n)), 0, 2).astype(np.float32)
    centre = dosages.mean(axis=1, dtype=np.float64).astype(np.float32)
    missing = rng.random((p, n)) < 0.05
    dosages[missing] = -1
    dense = np.where(missing, 0.0, dosages.astype(np.float64) - centre[:, None].astype(np.float64))
    return dosages, centre, dense


both_ways = pytest.mark.parametrize("packed", [True, False], ids=["packed", "bytes"])


def stored(dosages, packed):
    """Dosages as the sweep takes them."""
    own = pack(dosages) if packed else NOT_PACKED
    assert packed is (own is not NOT_PACKED)
    return dosages, own.dosages, own.starts, own.missing


SHAPES = [(3, 7), (BLOCK, TILE), (2 * BLOCK + 5, TILE + 1), (BLOCK - 1, 2 * TILE - 3)]


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_responses", [1, 2, 3])
def test_products_are_those_of_the_dense_matrix(dtype, shape, n_responses):
    p, n = shape
    dosages, centre, dense = make_genotypes(p, n, dtype)
    rng = np.random.default_rng(1)
    effects = rng.normal(size=(p, n_responses)) * (rng.random((p, n_responses)) < 0.6)
    np.testing.assert_allclose(
        genetic_values(dosages, centre, effects), effects.T @ dense, rtol=1e-5, atol=1e-5
    )
    values = rng.normal(size=(n_responses, n))
    np.testing.assert_allclose(
        marker_products(dosages, centre, values), dense @ values.T, rtol=1e-5, atol=1e-4
    )


def test_values_and_products_are_adjoint():
    """The gradient of a genetic value is right only if each kernel is the other's transpose."""
    dosages, centre, _ = make_genotypes(BLOCK + 3, TILE + 9, np.int8)
    rng = np.random.default_rng(2)
    effects, values = rng.normal(size=(BLOCK + 3, 2)), rng.normal(size=(2, TILE + 9))
    forward = np.sum(genetic_values(dosages, centre, effects) * values)
    backward = np.sum(marker_products(dosages, centre, values) * effects)
    assert forward == pytest.approx(backward, rel=1e-10)


def test_no_effects_give_exact_zeros():
    dosages, centre, _ = make_genotypes(5, 9, np.int8)
    assert not genetic_values(dosages, centre, np.zeros((5, 2))).any()


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_masked_gram(dtype, shape):
    p, n = shape
    dosages, centre, dense = make_genotypes(p, n, dtype)
    mask = (np.random.default_rng(3).random(n) < 0.7).astype(np.float32)
    gram = masked_gram(dosages, centre, mask, BLOCK)
    assert gram.shape == (p, BLOCK)
    whole = (dense * mask) @ dense.T
    for first in range(0, p, BLOCK):
        stop = min(p, first + BLOCK)
        block = gram[first:stop]
        np.testing.assert_allclose(
            block[:, : stop - first], whole[first:stop, first:stop], rtol=1e-5, atol=1e-4
        )
        assert not block[:, stop - first :].any()


def test_no_number_counts_as_a_missing_call_in_the_gram_matrix():
    dosages, centre, _ = make_genotypes(5, 40, np.float32)
    holes = np.random.default_rng(3).random(dosages.shape) < 0.2
    mask = np.ones(40, np.float32)
    found = [
        masked_gram(np.where(holes, value, dosages).astype(np.float32), centre, mask, BLOCK)
        for value in (np.nan, -1.0)
    ]
    np.testing.assert_array_equal(*found)
    assert np.isfinite(found[0]).all()


def reference_sweep(dense, masks, residual, precision, weights, variances, effects, u, z):
    """Marker by marker, response by response, in float64: the sampler as a textbook has it."""
    residual, effects = residual.astype(np.float64), effects.copy()
    for j in range(len(dense)):
        for k in range(len(residual)):
            x = dense[j]
            residual[k] += x * effects[j, k]
            right, square = (x * masks[k]) @ residual[k], (x * masks[k]) @ x
            w, v = weights[j, k], variances[j, k]
            shape = precision[k] * square + 1.0 / v
            mean = precision[k] * right / shape
            with np.errstate(divide="ignore"):
                log_odds = np.log(w) - 0.5 * np.log(v * shape) + 0.5 * shape * mean**2
                spike = 1.0 - w.sum()
                log_all = np.append(np.log(spike if spike > 1e-12 else 0.0), log_odds)
            probability = np.exp(log_all - log_all.max())
            upper = np.cumsum(probability / probability.sum())
            chosen = min(int(np.sum(u[j, k] >= upper)), len(w))
            effects[j, k] = (
                0.0 if chosen == 0 else mean[chosen - 1] + z[j, k] / np.sqrt(shape[chosen - 1])
            )
            residual[k] -= x * effects[j, k]
    return residual, effects


ONE_SLAB = [0.0, 1.0, 0.3]
SEVERAL_SLABS = [[0.1, 0.2, 0.05], [0.25, 0.5, 0.25], [0.0, 0.4, 0.0]]


@pytest.mark.parametrize("n_responses", [1, 2, 3])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["packed", "int8", "float32"])
@pytest.mark.parametrize("inclusion", [*ONE_SLAB, *SEVERAL_SLABS])
def test_sweep_draws_what_the_marker_by_marker_sampler_draws(n_responses, masked, kind, inclusion):
    p, n = 2 * BLOCK + 6, TILE + 30
    packed, dtype = kind == "packed", np.float32 if kind == "float32" else np.int8
    dosages, centre, dense = make_genotypes(p, n, dtype)
    rng = np.random.default_rng(4)
    patterns = np.ones((1, n), np.float32)
    if masked:
        patterns = (rng.random((2, n)) < [[0.5], [0.9]]).astype(np.float32)
    pattern = np.arange(n_responses) % len(patterns)
    weights = np.atleast_1d(np.asarray(inclusion, float))
    variances = np.array([0.02, 0.002, 0.2])[: len(weights)]
    weights = np.broadcast_to(weights, (p, n_responses, len(weights)))
    variances = np.broadcast_to(variances, weights.shape)
    effects = rng.normal(0, 0.1, (p, n_responses)) * (rng.random((p, n_responses)) < 0.5)
    precision = np.array([1.0, 0.2, 5.0])[:n_responses]
    residual = rng.normal(size=(n_responses, n)).astype(np.float32)
    u, z = rng.random((p, n_responses)), rng.standard_normal((p, n_responses))
    expected_residual, expected = reference_sweep(
        dense, patterns[pattern], residual, precision, weights, variances, effects, u, z
    )
    before = effects.copy()
    classes = np.empty(effects.shape, np.int8)
    gram = np.stack([masked_gram(dosages, centre, m, BLOCK) for m in patterns])
    sweep(
        *stored(dosages, packed),
        centre,
        gram,
        patterns,
        pattern,
        residual,
        precision,
        weights,
        variances,
        effects,
        classes,
        u,
        z,
    )
    np.testing.assert_array_equal(effects != 0.0, expected != 0.0)
    np.testing.assert_array_equal(classes >= 0, expected != 0.0)
    np.testing.assert_allclose(effects, expected, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(residual, expected_residual, atol=2e-4)
    assert np.any(effects != before)
    if np.sum(inclusion) == 0.0:
        assert not effects.any()
    if np.sum(inclusion) == 1.0:
        assert effects.all()


@pytest.mark.parametrize("features", [(), ("avx2", "fma")], ids=["plain", "avx2"])
def test_sweep_draws_the_same_on_plainer_processors(features):
    """Instructions that a processor lacks stop the whole process."""
    if not processor_has(*features):
        pytest.skip("what is to be tried needs AVX2")
    cases = [
        f"{__file__}::test_sweep_draws_what_the_marker_by_marker_sampler_draws[0.3-packed-False-3]",
        f"{__file__}::test_products_of_packed_dosages[3-{2 * CHUNKS + GROUP + 2}]",
    ]
    plainer = ",".join(f"+{f}" for f in features)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", *cases],
        env=os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": plainer},
        capture_output=True,
        text=True,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@both_ways
def test_masked_individuals_do_not_count_but_are_updated(packed):
    """What stands in the residual of an individual without data must not reach the draws."""
    p, n = 40, 60
    dosages, centre, dense = make_genotypes(p, n, np.int8)
    masks = np.ones((1, n), np.float32)
    masks[0, 40:] = 0.0
    gram = masked_gram(dosages, centre, masks[0], BLOCK)[None]
    rng = np.random.default_rng(5)
    residual = rng.normal(size=(1, n)).astype(np.float32)
    u, z = rng.random((p, 1)), rng.standard_normal((p, 1))
    weights, variances = np.full((p, 1, 1), 0.5), np.full((p, 1, 1), 0.1)
    draws = []
    for outside in (0.0, 1e3):
        own, effects = residual.copy(), np.zeros((p, 1))
        own[0, 40:] = outside
        sweep(
            *stored(dosages, packed),
            centre,
            gram,
            masks,
            np.zeros(1, int),
            own,
            np.ones(1),
            weights,
            variances,
            effects,
            np.empty((p, 1), np.int8),
            u,
            z,
        )
        draws.append(effects)
        fitted = effects[:, 0] @ dense
        np.testing.assert_allclose(outside - own[0, 40:], fitted[40:], atol=2e-3)
    np.testing.assert_array_equal(*draws)


@both_ways
def test_a_strong_signal_does_not_overflow(packed):
    """Log odds of millions: the marker is in, the draw is finite."""
    dosages, centre, dense = make_genotypes(1, 500, np.int8)
    residual = (1e3 * dense).astype(np.float32)
    effects = np.zeros((1, 1))
    gram = masked_gram(dosages, centre, np.ones(500, np.float32), BLOCK)[None]
    shape = (1, 1, 1)
    sweep(
        *stored(dosages, packed),
        centre,
        gram,
        np.ones((1, 500), np.float32),
        np.zeros(1, int),
        residual,
        np.array([1e2]),
        np.full(shape, 1e-4),
        np.full(shape, 1e6),
        effects,
        np.empty((1, 1), np.int8),
        np.full((1, 1), 0.5),
        np.zeros((1, 1)),
    )
    assert effects[0, 0] == pytest.approx(1e3, rel=1e-3)


def test_digits_are_the_residual_in_fixed_point():
    """Largest of either sign, zeros, and numbers small beside it, to half a unit."""
    rng = np.random.default_rng(8)
    for largest in (1.0, -3.7e-20, 2.5e12):
        r = np.zeros(2 * CHUNK, np.float32)
        r[:300] = rng.normal(size=300) * rng.choice([1.0, 1e-4], 300)
        r *= np.float32(largest / r[np.argmax(np.abs(r))])
        digits = np.empty((8, DIGITS, 64), np.int8)
        unit, total = split(r, digits)
        numbers = digits.transpose(0, 2, 1).reshape(-1, DIGITS) @ [1, 256, 65536]
        np.testing.assert_allclose(numbers * unit, r, rtol=1e-6, atol=0.51 * unit)
        assert total == numbers.sum()
        assert unit < 1.3e-7 * abs(largest)
    assert split(np.zeros(CHUNK, np.float32), np.empty((4, DIGITS, 64), np.int8)) == (0.0, 0)


@pytest.mark.parametrize("n_chunks", [1, GROUP, GROUP + 1, CHUNKS, 2 * CHUNKS + GROUP + 2])
@pytest.mark.parametrize("n_responses", [1, 2, 3])
def test_products_of_packed_dosages(n_chunks, n_responses):
    """Sums of so many individuals that they are taken in parts, and the largest there are."""
    n, p = CHUNK * n_chunks - 3, 5
    dosages, centre, dense = make_genotypes(p, n, np.int8)
    dosages[:2], centre[:2], dense[:2] = 2, [0.0, 1.0], [[2.0], [1.0]]
    rng = np.random.default_rng(9)
    responses = np.zeros((n_responses, CHUNK * n_chunks), np.float32)
    responses[:, :n] = rng.choice([-1.0, 1.0], (n_responses, n)) * rng.uniform(0.99, 1.0, n)
    responses[0, :n] = -1.0
    digits = np.empty((n_responses, 4 * n_chunks, DIGITS, 64), np.int8)
    own, out = pack(dosages), np.empty((n_responses, p))
    units, totals = np.transpose([split(r, d) for r, d in zip(responses, digits, strict=True)])
    # fmt: off
    packed_products(
        own.dosages, own.starts, own.missing, centre, 0, p, responses, digits, units, totals,
        np.empty(SUMS, np.int64), out,
    )
    # fmt: on
    expected = responses[:, :n].astype(float) @ dense.T
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=2e-7 * n)


def exact_posterior(x, y, precision, weights, variances):
    """PIPs and means over all assignments of markers to the spike and the slab classes."""
    n, p = len(y), len(x)
    prior = np.concatenate([[1.0 - np.sum(weights)], weights])
    slab = np.concatenate([[0.0], variances])
    log_weights, means, included = [], [], []
    for classes in product(range(len(prior)), repeat=p):
        v = slab[list(classes)]
        covariance = np.eye(n) / precision + (x.T * v) @ x
        solved = np.linalg.solve(covariance, y)
        log_weights.append(
            np.log(prior[list(classes)]).sum()
            - 0.5 * np.linalg.slogdet(covariance)[1]
            - 0.5 * y @ solved
        )
        means.append(v * (x @ solved))
        included.append(np.array(classes) > 0)
    w = np.exp(np.array(log_weights) - np.max(log_weights))
    w /= w.sum()
    return w @ np.array(included), w @ np.array(means)


def z_scores(draws, exact, n_batches=50):
    """Error of the mean of draws over its Monte Carlo standard error by batch means."""
    batches = draws.reshape(n_batches, -1, *draws.shape[1:]).mean(axis=1)
    mcse = batches.std(axis=0, ddof=1) / np.sqrt(n_batches)
    return (batches.mean(axis=0) - exact) / mcse


@pytest.mark.parametrize(
    ("weights", "variances"), [([0.3], [0.15]), ([0.2, 0.1], [0.02, 0.3])], ids=["BayesC", "BayesR"]
)
def test_long_run_matches_enumeration(weights, variances):
    """Linked markers, two responses of which one lacks individuals: 2^6 or 3^6 patterns each."""
    p, n, n_draws = 6, 40, 50_000
    rng = np.random.default_rng(6)
    haplotype = rng.integers(0, 3, n)
    linked = np.where(rng.random((p, n)) < 0.6, haplotype, rng.integers(0, 3, (p, n)))
    dosages = linked.astype(np.int8)
    centre = dosages.mean(axis=1).astype(np.float32)
    dense = dosages - centre[:, None].astype(float)
    masks = np.ones((2, n), np.float32)
    masks[1, ::4] = 0.0
    truth = np.array([[0.9, 0.0], [0.0, 0.0], [0.6, 0.9], [0.0, 0.0], [0.0, 0.0], [0.0, -0.7]])
    y = truth.T @ dense + rng.normal(size=(2, n))
    precision = np.array([1.0, 0.8])
    shape = (p, 2, len(weights))
    w, v = np.broadcast_to(weights, shape), np.broadcast_to(variances, shape)
    gram = np.stack([masked_gram(dosages, centre, m, BLOCK) for m in masks])
    x = stored(dosages, True)
    effects, draws = np.zeros((p, 2)), np.empty((n_draws, p, 2))
    classes, both = np.empty((p, 2), np.int8), np.array([0, 1])
    for i in range(n_draws):
        if i % 100 == 0:
            residual = (y - effects.T @ dense).astype(np.float32)
        u, z = rng.random((p, 2)), rng.standard_normal((p, 2))
        # fmt: off
        sweep(*x, centre, gram, masks, both, residual, precision, w, v, effects, classes, u, z)
        # fmt: on
        draws[i] = effects
    for k in range(2):
        seen = masks[k] > 0
        pip, mean = exact_posterior(dense[:, seen], y[k, seen], precision[k], weights, variances)
        assert np.ptp(pip) > 0.3  # the data decide, so a sampler of the prior would fail
        assert np.abs(z_scores((draws[:, :, k] != 0).astype(float), pip)).max() < 4
        assert np.abs(z_scores(draws[:, :, k], mean)).max() < 4


@pytest.mark.statistical
def test_scale_draws_have_the_density_of_the_variance():
    """Effects sqrt(v) u with u held: draws of v against its density on a grid, twice at once."""
    rng = np.random.default_rng(8)
    x, noise = rng.normal(size=(2, 30))
    y, precision, exponent, rate = 0.8 * x + noise, 1.3, -4.0, 1.5
    grid = np.linspace(-12.0, 8.0, 20_001)
    log_weight = (exponent + 1) * grid - 0.5 * rate * np.exp(-grid)
    misfit = ((y[:, None] - np.exp(0.5 * grid) * x[:, None]) ** 2).sum(axis=0)
    weight = np.exp(log_weight - 0.5 * precision * misfit - np.max(log_weight - misfit / 2))
    cdf = np.cumsum(weight) / weight.sum()
    log_v, draws = np.zeros(2), []
    for _ in range(6000):
        values = np.exp(0.5 * log_v)[:, None] * x
        linear = precision * (values * (y - values)).sum(axis=1)
        quadratic = precision * (values**2).sum(axis=1)
        both = np.full(2, exponent), np.full(2, rate)
        log_v = draw_scale(rng, log_v, *both, linear, quadratic)
        draws.append(log_v)
    for column in np.array(draws)[::6].T:
        assert kstest(column, lambda q: np.interp(q, grid, cdf)).pvalue > 1e-4


def test_scale_move_stops_at_a_density_that_is_no_number():
    """An interval around NaN would shrink for ever."""
    one = np.ones(1)
    with pytest.raises(FloatingPointError, match="not finite at the start of a scale move"):
        draw_scale(np.random.default_rng(1), one, -one, one, one, np.array([np.inf]))

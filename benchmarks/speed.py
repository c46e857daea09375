"""CPU and memory of the sampler against a plain C program and against the machine's limits.

    python benchmarks/speed.py [sweep threads single network complete overhead large ...]

sweep: n=10,000, p=20,000, 10 omics, BayesC with 2 % of the effects included, against `sweep.c`
(gcc -O3 -march=native; wanted: at least 6 times less CPU, at most 2.5 times the nearer limit), and
with all effects included.
threads: the first of these on one and on two cores, wall time (wanted: 1.7 times faster), and what
a loop gains there that uses no memory, which a second core that is none of its own limits.
single: one trait, n=5,000, p=10,000, a whole iteration through the steps of `Network.fit` against
the sweep of the C program alone (wanted: at least 2.5 times less).
network: n=3,534, p=1,000, 10 omics, sigmoid, 30 % of the individuals without omics: CPU of an
iteration (wanted: 6 ms), effective draws per CPU second of the worst weight (wanted: 120) and
variance, and of the median genetic value and inclusion.
complete: the same with everything observed (wanted: 2.5 ms).
overhead: of an iteration of both what neither depends on the data nor is in compiled kernels, which
hold the gradients: seen on hardly any data, 64 individuals and 20 markers (wanted: 15 % of the
whole); and all that is not in kernels, passes of NumPy over the data too.
latent: n=3,534, p=1,000, three tanh nodes that nobody measured, two chains on two cores: effective
draws of the network's output, of every 50th individual (wanted: 400 within 10 minutes).
large: n=20,000, p=100,000, 5 omics: seconds a sweep (wanted: 1) and peak memory (wanted: 4 GB).
scaling: time of a sweep in n, in p, and in the number of omics, with the fitted exponents.
start: seconds to import, and to the first draw in a fresh process, with what numba compiled before
(run once before) and without (wanted: 3, 5 and 20).
"""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
from numba import njit
from numba.core.dispatcher import Dispatcher
from threadpoolctl import threadpool_limits

import nnmm_pymc as nn
from nnmm_pymc.chains import ChainTask, run_chain
from nnmm_pymc.kernels.genotypes import masked_gram
from nnmm_pymc.kernels.markers import BLOCK
from nnmm_pymc.kernels.packed import DIGITS, NOT_PACKED, pack, packed_dot, packing_pays
from nnmm_pymc.kernels.products import CHUNKS, MARKERS, PAIR, PAIR_ROWS, RESPONSES, TILE
from nnmm_pymc.kernels.vector import LANES, dot
from nnmm_pymc.merit import merit_draws
from nnmm_pymc.record import RecordPlan
from nnmm_pymc.steps import assign_steps
from nnmm_pymc.steps.markers import sweep_in_threads

VARIANCE = 0.01
_packed_dot, _dot = packed_dot(PAIR_ROWS, PAIR), dot(MARKERS, RESPONSES)


class Sweeps:
    """Both sweeps on the same genotypes, residuals and random numbers."""

    def __init__(self, n: int, p: int, n_responses: int, inclusion: float, seed: int = 1):
        rng = np.random.default_rng(seed)
        self.n, self.p, self.k, self.inclusion, self.rng = n, p, n_responses, inclusion, rng
        self.dosages = np.empty((p, n), np.int8)
        for j, frequency in enumerate(rng.uniform(0.05, 0.5, p)):
            self.dosages[j] = rng.random(n) < frequency
            self.dosages[j] += rng.random(n) < frequency
        self.centre = self.dosages.mean(axis=1, dtype=np.float64).astype(np.float32)
        self.residual = rng.normal(size=(n_responses, n)).astype(np.float32)
        for r in self.residual:
            causal = rng.choice(p, min(p, 50), replace=False)
            value = rng.normal(size=len(causal)) @ self.dosages[causal].astype(np.float32)
            r += ((value - value.mean()) / value.std()).astype(np.float32)
        self.masks = np.ones((1, n), np.float32)
        self.gram = masked_gram(self.dosages, self.centre, self.masks[0], BLOCK)[None]
        self.packed = pack(self.dosages) if packing_pays() else NOT_PACKED
        self.effects = np.zeros((p, n_responses))
        self.precision = np.ones(n_responses)

    def ours(self, threads: int = 1) -> None:
        """One sweep of the package."""
        shape = (self.p, self.k, 1)
        packed = (self.packed.dosages, self.packed.starts, self.packed.missing)
        sweep_in_threads(
            threads,
            (self.dosages, *packed, self.centre, self.gram, self.masks),
            np.zeros(self.k, np.int64),
            self.residual,
            self.precision,
            np.broadcast_to(np.array(self.inclusion), shape),
            np.broadcast_to(np.array(VARIANCE), shape),
            self.effects,
            np.empty(self.effects.shape, np.int8),
            self.rng.random(self.effects.shape),
            self.rng.standard_normal(self.effects.shape),
        )

    def plain(self) -> Callable[[], float]:
        """The C program: CPU seconds of one sweep."""
        source = Path(__file__).with_name("sweep.c")
        folder = tempfile.mkdtemp()
        library = f"{folder}/sweep.so"
        flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
        subprocess.run(["gcc", *flags, str(source), "-o", library, "-lm"], check=True)
        run = ctypes.CDLL(library).sweep
        run.restype = ctypes.c_double
        x = self.dosages - self.centre[:, None]
        squares = np.einsum("pn,pn->p", x, x).astype(float)
        residual, effects = self.residual.copy(), np.zeros_like(self.effects)

        def pointer(a: np.ndarray) -> ctypes.c_void_p:
            return a.ctypes.data_as(ctypes.c_void_p)

        def once() -> float:
            uniforms, normals = self.rng.random(effects.shape), self.rng.normal(size=effects.shape)
            sizes = [ctypes.c_int64(v) for v in (self.n, self.p, self.k)]
            numbers = [ctypes.c_double(v) for v in (self.inclusion, VARIANCE)]
            arrays = [pointer(a) for a in (effects, uniforms, normals)]
            start = [pointer(a) for a in (squares, residual, self.precision)]
            return run(pointer(x), *sizes, *start, *numbers, *arrays)

        return once


def cpu(run: Callable[[], Any], times: int = 5) -> float:
    """Least CPU seconds of a few runs; the first, which compiles and warms up, does not count."""
    run()
    found = []
    for _ in range(times):
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return min(found)


@njit
def _packed_dots(times: int) -> None:
    x = np.ones((PAIR_ROWS, 64 * CHUNKS), np.uint8)
    digits = np.ones((PAIR, 4 * CHUNKS, DIGITS, 64), np.int8)
    out = np.zeros(PAIR_ROWS * PAIR, np.int64)
    place, stride = digits.ctypes.data, digits.strides[0]
    for _ in range(times):
        _packed_dot(x.ctypes.data, x.strides[0], place, stride, CHUNKS, out.ctypes.data)


@njit
def _dots(times: int) -> None:
    x, r = np.ones((MARKERS, TILE), np.float32), np.ones((RESPONSES, TILE), np.float32)
    out = np.zeros((MARKERS, RESPONSES, LANES), np.float32)
    place, stride = r.ctypes.data, r.strides[0]
    for _ in range(times):
        _dot(x.ctypes.data, x.strides[0], place, stride, TILE, out.ctypes.data, out.strides[0])


@njit(fastmath=True)
def _read(dosages: Any) -> int:
    total = 0
    for value in dosages.ravel():
        total += value
    return total


def limits(work: Sweeps) -> tuple[float, float]:
    """Seconds that reading the dosages once, and the multiply-adds of x'r, take at least."""
    times = 10_000
    if work.packed is NOT_PACKED:
        read, dots, products = work.dosages, _dots, MARKERS * RESPONSES * TILE
    else:
        read, dots, products = work.packed.dosages, _packed_dots, PAIR_ROWS * PAIR * 256 * CHUNKS
    seconds = cpu(lambda: dots(times))
    rate = times * products / seconds
    # A sparse sweep takes all products but few updates; a dense one twice as many.
    passes = 1 + (work.inclusion > 0.5)
    return cpu(lambda: _read(read)), passes * work.n * work.p * work.k / rate


def run_sweep() -> None:
    for inclusion in (0.05, 0.999):
        work = Sweeps(10_000, 20_000, 10, inclusion)
        plain = work.plain()
        for _ in range(3):
            work.ours()
            plain()
        ours, c = cpu(work.ours), min(plain() for _ in range(3))
        bytes_limit, dot_limit = limits(work)
        share = np.mean(work.effects != 0)
        print(
            f"sweep 10,000 x 20,000 x 10, {share:.0%} included: {1e3 * ours:.0f} ms, C "
            f"{1e3 * c:.0f} ms, ratio {c / ours:.2f}; limits: bytes {1e3 * bytes_limit:.0f} ms, "
            f"products {1e3 * dot_limit:.0f} ms, so {ours / max(bytes_limit, dot_limit):.2f} x",
            flush=True,
        )


class Clock:
    """Time in the compiled kernels that steps call."""

    def __init__(self) -> None:
        self.seconds, self.installed = 0.0, False

    def install(self) -> None:
        """Clock the kernels from here on, for the rest of the process."""
        modules = [] if self.installed else list(sys.modules.items())
        self.installed = True
        for name, module in modules:
            if name.startswith("nnmm_pymc") and not name.startswith("nnmm_pymc.kernels"):
                for word, value in list(vars(module).items()):
                    if isinstance(value, Dispatcher):
                        setattr(module, word, self._timed(value))

    def _timed(self, kernel: Any) -> Any:
        def call(*arguments: Any) -> Any:
            start = time.thread_time()
            try:
                return kernel(*arguments)
            finally:
                self.seconds += time.thread_time() - start

        return call


CLOCK = Clock()


class Chain:
    """One chain of a network, its iterations timed, and once more with marker effects kept."""

    def __init__(self, network: nn.Network, tune: int, draws: int):
        self.plan = assign_steps(network.model)
        self.initial = self.plan.compound.sampling_state
        self.term = self.plan.conditional.marker_terms[0]
        self.tune, self.draws = tune, draws
        marks = {}

        def report(done: int, _: int) -> None:
            marks[done] = np.array([time.process_time(), time.perf_counter(), CLOCK.seconds])

        self._run(report)
        self.cpu, self.wall, self.kernels = (marks[tune + draws] - marks[tune]) / draws

    def _run(self, report: Callable[[int, int], None], *keep: str) -> dict[str, np.ndarray]:
        conditional = self.plan.conditional
        record = RecordPlan(conditional, self.draws, 1, keep)
        task = ChainTask(self.plan.compound, record, self.tune, self.draws)
        start = conditional.prior_points(seed=1, size=1)[0]
        return run_chain(task, self.initial, start, np.random.SeedSequence(1), report).stored

    @cached_property
    def stored(self) -> dict[str, np.ndarray]:
        """Draws of the small variables and of the marker effects."""
        return self._run(lambda *_: None, self.term.effects)

    def rate(self, draws: np.ndarray, of: Callable[..., Any] = np.min) -> float:
        """Effective draws a CPU second of the worst column, or another."""
        columns = draws.reshape(1, self.draws, -1).astype(float)
        found = [float(az.ess(columns[..., k])) for k in range(columns.shape[-1])]
        return float(of(found)) / self.draws / self.cpu

    def rates(self) -> str:
        """That of the worst variance, and of the median genetic value and inclusion."""
        effects = self.stored[self.term.effects].reshape(self.draws, len(self.term.dosages), -1)
        some = np.linspace(0, self.term.n_individuals - 1, 20).astype(int)
        x = self.term.dosages[:, some].T - self.term.centre
        included = (effects != 0.0).reshape(self.draws, -1)
        shares = included.mean(axis=0)
        # Of those that are neither always in nor nearly never.
        moving = np.flatnonzero((shares > 0.1) & (shares < 0.9))[:20]
        names = [n for n in self.stored if n.endswith("residual_variance")]
        variances = np.hstack([self.stored[n].reshape(self.draws, -1) for n in names])
        genetic = np.einsum("ip,dpk->dik", x, effects)
        medians = [self.rate(d, np.median) for d in (genetic, included[:, moving])]
        return (
            f"variance {self.rate(variances):.0f}, genetic value {medians[0]:.0f}, "
            f"inclusion {medians[1]:.0f}"
        )


def network(n: int, p: int, n_omics: int, missing: str | None, activation: str) -> nn.Network:
    data = nn.simulate(
        n, p, n_omics, activation=activation, missing=missing, missing_fraction=0.3, random_seed=1
    )
    layers = [
        nn.Layer("geno", nn.read_genotypes(data.genotypes)),
        nn.Layer("omics", data.omics),
        nn.Layer("pheno", data.phenotypes),
    ]
    first = nn.Equation("omics ~ 1 + geno", priors={"geno": nn.BayesC()})
    return nn.Network(layers, [first, f"y ~ 1 + {activation}(omics)"])


def run_network(missing: str | None = "individuals") -> None:
    chain = Chain(network(3534, 1000, 10, missing, "sigmoid"), 500, 1000)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(
        f"network 3,534 x 1,000 x 10, sigmoid, {missing or 'nothing'} missing: "
        f"{1e3 * chain.cpu:.2f} ms CPU, {1e3 * chain.wall:.2f} ms wall an iteration; "
        f"effective draws a CPU second: worst weight {chain.rate(chain.stored['y_omics']):.0f}, "
        f"{chain.rates()}; peak {peak:.2f} GB",
        flush=True,
    )


def run_overhead() -> None:
    CLOCK.install()
    for missing in ("individuals", None):
        whole, hardly = (
            Chain(network(n, p, 10, missing, "sigmoid"), 300, 600)
            for n, p in ((3534, 1000), (64, 20))
        )
        fixed = hardly.cpu - hardly.kernels
        print(
            f"overhead, {missing or 'nothing'} missing: of {1e3 * whole.cpu:.2f} ms CPU an "
            f"iteration {1e3 * fixed:.2f} do not depend on the data and are not in kernels, "
            f"{fixed / whole.cpu:.0%} (an iteration on hardly any data {1e3 * hardly.cpu:.2f} ms, "
            f"{hardly.cpu / whole.cpu:.0%}); all that is not in kernels, passes of NumPy over data "
            f"too, {1 - whole.kernels / whole.cpu:.0%}",
            flush=True,
        )


def run_latent(draws: int = 115_000) -> None:
    data = nn.simulate(3534, 1000, 3, activation="tanh", random_seed=1)
    genotypes = nn.read_genotypes(data.genotypes)
    layers = [nn.Layer("geno", genotypes), nn.Layer("hidden", nn.latent(3))]
    layers.append(nn.Layer("pheno", data.phenotypes))
    first = nn.Equation("hidden ~ 1 + geno", priors={"geno": nn.BayesC()})
    start = time.perf_counter()
    options: dict[str, Any] = {"chains": 2, "cores": 2, "random_seed": 1, "quiet": True}
    result = nn.Network(layers, [first, "y ~ 1 + tanh(hidden)"]).fit(
        draws, tune=2000, progressbar=False, **options
    )
    minutes = (time.perf_counter() - start) / 60
    few = genotypes.take(genotypes.individuals[::50])
    found = [moments["y"].mean[..., 0] for _, moments in merit_draws(result, {"geno": few})]
    output = np.concatenate(found).reshape(2, -1, few.n)
    effective = [float(az.ess(output[..., i])) for i in range(few.n)]
    r_hat = max(float(az.rhat(output[..., i])) for i in range(few.n))
    print(
        f"latent: {minutes:.1f} minutes, {draws} draws of each chain, {output.shape[1]} of them "
        f"kept: effective {min(effective):.0f} to {max(effective):.0f}, median "
        f"{np.median(effective):.0f}; R-hat at most {r_hat:.3f}",
        flush=True,
    )


@njit(nogil=True)
def _count(times: int) -> float:
    total = 0.0
    for i in range(times):
        total += 1.0 / (i + 1.0)
    return total


def run_threads() -> None:
    work = Sweeps(10_000, 20_000, 10, 0.05)
    for _ in range(3):
        work.ours()

    def count(threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(_count, [60_000_000 // threads] * threads))

    _count(1)
    times: dict[tuple[str, int], list[float]] = {}
    for _ in range(7):
        for (name, run), threads in product({"ours": work.ours, "count": count}.items(), (1, 2)):
            start = time.perf_counter()
            run(threads)
            times.setdefault((name, threads), []).append(time.perf_counter() - start)
    one, two, count_one, count_two = (min(found) for found in times.values())
    print(
        f"threads: {1e3 * one:.0f} ms on one core, {1e3 * two:.0f} ms on two, {one / two:.2f} x "
        f"(a loop that uses no memory: {count_one / count_two:.2f} x)",
        flush=True,
    )


def run_single() -> None:
    work = Sweeps(5000, 10_000, 1, 0.05)
    plain = work.plain()
    for _ in range(3):
        work.ours()
        plain()
    ours, c = cpu(work.ours), min(plain() for _ in range(5))
    data = nn.simulate(5000, 10_000, 1, activation="identity", random_seed=1)
    layers = [nn.Layer("geno", nn.read_genotypes(data.genotypes))]
    layers.append(nn.Layer("pheno", data.phenotypes))
    equation = nn.Equation("y ~ 1 + geno", priors={"geno": nn.BayesC(inclusion=0.05)})
    chain = Chain(nn.Network(layers, [equation]), 100, 300)
    print(
        f"single 5,000 x 10,000 x 1: sweep {1e3 * ours:.2f} ms, whole iteration "
        f"{1e3 * chain.cpu:.2f} ms; sweep of C {1e3 * c:.2f} ms, ratio {c / chain.cpu:.2f}; "
        f"effective draws a CPU second: {chain.rates()}",
        flush=True,
    )


def run_large() -> None:
    work = Sweeps(20_000, 100_000, 5, 0.01)
    seconds = cpu(work.ours, 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"large 20,000 x 100,000 x 5: {seconds:.2f} s a sweep, peak {peak:.2f} GB", flush=True)


def run_scaling() -> None:
    base = {"n": 5000, "p": 10_000, "n_responses": 5}
    for name in base:
        sizes = [base[name] * factor for factor in (1, 2, 4)]
        sweeps = [Sweeps(**(base | {name: s}), inclusion=0.05).ours for s in sizes]
        # In turn, so that a slow minute is one for all sizes.
        rounds = [[cpu(sweep, 1) for sweep in sweeps] for _ in range(15)]
        seconds = np.min(rounds, axis=0)
        exponent = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
        table = ", ".join(f"{s}: {1e3 * t:.1f} ms" for s, t in zip(sizes, seconds, strict=True))
        print(f"scaling in {name}: {table}; exponent {exponent:.2f}", flush=True)


def run_start() -> None:
    scripts = {
        "import": "import nnmm_pymc",
        "first draw": (
            "import nnmm_pymc as nn; d = nn.simulate(random_seed=1, missing='cells');"
            "nn.Network([nn.Layer('geno', d.genotypes), nn.Layer('omics', d.omics),"
            "nn.Layer('pheno', d.phenotypes)], ['omics ~ 1 + geno', 'y ~ 1 + tanh(omics)'])"
            ".fit(draws=1, tune=0, chains=1, quiet=True, progressbar=False)"
        ),
    }
    with tempfile.TemporaryDirectory() as empty:
        runs = [(name, script, "") for name, script in scripts.items()]
        runs.append(("first draw, nothing compiled before", scripts["first draw"], empty))
        for name, script, cache in runs:
            own = {"NUMBA_CACHE_DIR": cache} if cache else {}
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-W", "ignore", "-c", script], check=True, env=os.environ | own
            )
            print(f"start, {name}: {time.perf_counter() - start:.1f} s wall", flush=True)


RUNS: dict[str, Callable[[], None]] = {
    "sweep": run_sweep,
    "threads": run_threads,
    "single": run_single,
    "network": run_network,
    "complete": lambda: run_network(None),
    "overhead": run_overhead,
    "latent": run_latent,
    "large": run_large,
    "scaling": run_scaling,
    "start": run_start,
}

if __name__ == "__main__":
    with threadpool_limits(1):
        for name in sys.argv[1:] or RUNS:
            RUNS[name]()

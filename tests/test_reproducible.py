"""A seed gives one result, whatever was compiled before and however many threads there are."""

import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from numba.core.dispatcher import Dispatcher
from pytensor.link.numba.dispatch import basic
from small_models import MODELS
from threadpoolctl import threadpool_info, threadpool_limits

import nnmm_pymc as nn
from nnmm_pymc import kernels
from nnmm_pymc.kernels import jit
from nnmm_pymc.kernels.markers import dense_sweep
from nnmm_pymc.kernels.network import add_activated
from nnmm_pymc.steps import assign_steps


def compiled_functions():
    """All functions of the kernels that numba compiles, by name."""
    found = {}
    for info in pkgutil.iter_modules(kernels.__path__):
        module = importlib.import_module(f"{kernels.__name__}.{info.name}")
        for name, value in vars(module).items():
            if isinstance(value, Dispatcher) and value.py_func.__module__ == module.__name__:
                found[f"{info.name}.{name}"] = value
    return found


FUNCTIONS = compiled_functions()


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_kernel_calls_nothing_but_parts_of_itself(name):
    function = FUNCTIONS[name]
    # What is not given is that of the caller that is compiled first.
    assert {"fastmath", "error_model", "forceinline"} <= set(function.targetoptions)
    code = function.py_func.__code__
    called = [function.py_func.__globals__.get(word) for word in code.co_names]
    called = [c for c in called if isinstance(c, Dispatcher)]
    assert function not in called
    assert all(c.targetoptions["forceinline"] for c in called)
    # A section is compiled with the options of its caller, whatever its own are.
    sections = [c.targetoptions for c in called if "inline" in c.targetoptions]
    options = function.targetoptions
    assert all(s[o] == options[o] for s in sections for o in ("fastmath", "error_model"))


NUMBERS = numba.float64[::1]
SIGNATURES = {
    dense_sweep: (
        *(numba.float64[:, ::1], NUMBERS, numba.float64[:, :, ::1], numba.float64[:, :, ::1]),
        *(NUMBERS, numba.int8[::1], NUMBERS, NUMBERS),
    ),
    add_activated: (
        *(numba.float64[:, ::1], NUMBERS, numba.int64[::1], numba.int64[::1]),
        *(numba.float64[:, ::1], NUMBERS, NUMBERS, numba.int64, numba.float64),
    ),
}


@pytest.mark.parametrize("kernel", SIGNATURES, ids=lambda kernel: kernel.py_func.__name__)
def test_no_copy_of_a_part_is_left_to_be_taken_for_another(kernel):
    # Anew: numba does not show what it read from the cache.
    anew = numba.jit(**kernel.targetoptions)(kernel.py_func)
    anew.compile(SIGNATURES[kernel])
    (code,) = anew.inspect_llvm().values()
    assert re.search(r"^define .*nnmm_pymc", code, re.MULTILINE)
    assert not re.findall(r"^define linkonce_odr .*nnmm_pymc.*", code, re.MULTILINE)


DENSITIES = """
import numpy as np
from nnmm_pymc.steps import assign_steps
from nnmm_pymc.steps.network_nuts import NetworkNUTS
from small_models import MODELS

plan = assign_steps(MODELS["nuts"]()[0].model)
(point,) = plan.conditional.prior_points(1, 1)
(fused,) = [s.fused for s in plan.compound.methods if isinstance(s, NetworkNUTS)]
fused.prepare(point)
rng = np.random.default_rng(1)
for _ in range(100):
    logp, gradient = fused(rng.normal(size=len(fused.order)))
    print(logp.hex(), gradient.tobytes().hex())
"""


@pytest.mark.slow
def test_a_kernel_from_the_cache_gives_the_numbers_of_one_just_compiled(tmp_path):
    def run():
        return subprocess.run(
            [sys.executable, "-c", DENSITIES],
            cwd=Path(__file__).parent,
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        ).stdout.split()

    compiled = run()
    assert len(compiled) == 200 and any(tmp_path.rglob("*.nbc"))
    assert run() == compiled


def test_a_kernel_from_the_cache_is_not_one_of_parts_that_have_changed(tmp_path):
    kernels = tmp_path / "nnmm_pymc" / "kernels"
    kernels.mkdir(parents=True)
    for folder in (kernels, kernels.parent):
        (folder / "__init__.py").touch()
    (kernels / "jit.py").write_text(Path(jit.__file__).read_text())
    top = "from nnmm_pymc.kernels.jit import kernel, part\n"
    (kernels / "outer.py").write_text(
        f"{top}from nnmm_pymc.kernels.inner import inner\n"
        "@kernel()\ndef outer(x): return 2 * inner(x)\n"
    )
    script = (
        "from nnmm_pymc.kernels.outer import outer\n"
        "print(outer(1), sum(outer.stats.cache_hits.values()))"
    )

    def run():
        command = [sys.executable, "-c", script]
        return subprocess.run(
            command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True
        ).stdout.split()

    (kernels / "inner.py").write_text(f"{top}@part()\ndef inner(x): return x + 1\n")
    assert run() == ["4", "0"]
    assert run() == ["4", "1"]
    (kernels / "inner.py").write_text(f"{top}@part()\ndef inner(x): return x + 10\n")
    assert run() == ["22", "0"]


def test_pytensor_adds_in_the_order_that_is_written(monkeypatch):
    used, njit = [], basic._njit

    def noting(*args, fastmath=None, **options):
        used.append(fastmath)
        return njit(*args, fastmath=fastmath, **options)

    monkeypatch.setattr(basic, "_njit", noting)
    data = nn.simulate(30, 10, 1, missing="cells", random_seed=1)
    network = nn.Network(
        [
            nn.Layer("geno", data.genotypes),
            nn.Layer("omics", data.omics),
            nn.Layer("pheno", data.phenotypes),
        ],
        [
            nn.Equation("omics ~ 1 + geno", priors={"geno": nn.RRBLUP()}),
            nn.Equation("y ~ 1 + f(omics)", functions={"f": lambda x: x / (1 + x**2)}),
        ],
    )
    assert "nuts" in str(assign_steps(network.model))
    assert used and not any(used)


def test_sums_over_the_data_are_taken_by_one_thread(monkeypatch):
    """Those of many threads are other sums, of the steps' constants too."""
    module, seen = importlib.import_module("nnmm_pymc.sample"), []

    def noting(*args, **options):
        seen.extend(pool["num_threads"] for pool in threadpool_info())
        return assign_steps(*args, **options)

    monkeypatch.setattr(module, "assign_steps", noting)
    model, _ = MODELS["slices"]()
    with threadpool_limits(2):
        nn.sample(model, draws=2, tune=2, chains=1, progressbar=False, quiet=True)
    assert set(seen) == {1}

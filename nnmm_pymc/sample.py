"""`sample`: the driver for any PyMC model with marker effects, the user's own or a network's."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, get_args

import arviz_base
import numpy as np
import pymc as pm
import xarray as xr
from threadpoolctl import threadpool_limits

from nnmm_pymc.chain_checkpoint import checkpoint_bytes
from nnmm_pymc.chains import ChainTask, available_cores, run_chains
from nnmm_pymc.checkpoint import Checkpoint, open_checkpoint
from nnmm_pymc.data.scratch import scratch_folder
from nnmm_pymc.diagnose import warn_if_doubtful
from nnmm_pymc.errors import InputError
from nnmm_pymc.fingerprint import describe_run
from nnmm_pymc.first_use import Ahead
from nnmm_pymc.memory import check_memory, run_memory
from nnmm_pymc.record import ChainRecord, RecordPlan
from nnmm_pymc.steps import assign_steps
from nnmm_pymc.steps.conditional import QUICK_MODE, ConditionalModel, Point
from nnmm_pymc.steps.plan import Latent, StepPlan

__all__ = ["sample"]

# PyMC's names of statistics and those that ArviZ expects.
STAT_NAMES = {
    "depth": "tree_depth",
    "mean_tree_accept": "acceptance_rate",
    "tree_size": "n_steps",
}
# Times too: the same seed gives the same result.
DROPPED_STATS = (
    "divergences",
    "largest_eigval",
    "smallest_eigval",
    "perf_counter_start",
    "perf_counter_diff",
    "process_time_diff",
)


# From the first sum over the data on: what BLAS shares out between threads is another sum.
@threadpool_limits.wrap(limits=1)
def sample(
    model: pm.Model | None = None,
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    cores: int | None = None,
    random_seed: int | None = None,
    progressbar: bool = True,
    step: Any = None,
    keep: Sequence[str] = (),
    initvals: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    latent: Latent = "auto",
    target_accept: float = 0.8,
    quiet: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    scratch: str | os.PathLike[str] | None = None,
) -> xr.DataTree:
    """Sample the posterior of a model with marker effects.

    Every variable gets one step (`nnmm_pymc.assign_steps`; the plan is printed), chains start apart
    at draws from the prior, run in parallel with one BLAS thread each, and give the same result for
    the same seed on any number of cores.

    Parameters
    ----------
    model : pymc.Model, optional
        Taken from the context.
    draws, tune, chains : int
        Draws kept and discarded in each chain.
    cores : int, optional
        Chains run at a time, and where there are more cores than chains the sweep over the markers
        uses them; as many as the machine has by default.
    random_seed : int, optional
    progressbar : bool
    step : step or list of steps, optional
        Steps of your own for the variables they name.
    keep : sequence of str
        Large variables to keep draw by draw (missing cells, marker effects of a big panel); they
        are kept as running moments otherwise.
    initvals : dict or list of dict, optional
        Starting values by (untransformed) name, for all chains or each.
    latent : {"auto", "gibbs", "nuts", "hmc"}
        How missing omics are drawn; see `assign_steps`.
    target_accept : float
        For NUTS.
    quiet : bool
        Print neither plan, nor the memory the run needs, nor warnings.
    checkpoint : str or Path, optional
        Folder in which every chain writes, now and then, where it is; made if absent.
    resume : bool
        Go on with the run in that folder from where it was stopped: the result is, bit for bit,
        that of a run that was not. An empty folder starts one.
    checkpoint_every : int, optional
        Iterations between two checkpoints; about 30 seconds by default.
    scratch : str or Path, optional
        Folder on disk for the draws of large variables that are kept, which are float32 then: the
        result reads them from there as they are used, until it is gone (`nnmm_pymc.save` it).

    Returns
    -------
    xarray.DataTree
        Groups ``posterior``, ``sample_stats``, ``observed_data``, ``moments`` (mean, variance and
        share of non-zero draws by chain and half of the chain) and ``effect_draws`` (thinned draws
        of marker and random effects).

    Raises
    ------
    InputError
        If there is no model, a variable has no step or two, or a prior the sampler cannot handle;
        if the run needs more memory than is free; if checkpoints cannot be written, or are of
        another model, data set, version or settings; or if the process of a chain was killed.
    KeyboardInterrupt, SystemExit
        After Ctrl-C or SIGTERM, once chains with a checkpoint have written where they are.
    """
    model = _model(model)
    _check_counts(draws=draws, tune=tune, chains=chains)
    if cores is not None:
        _check_counts(cores=cores)
    if random_seed is not None and (not isinstance(random_seed, int) or random_seed < 0):
        raise InputError(f"random_seed={random_seed!r} must be a whole number of at least 0.")
    if latent not in get_args(Latent):
        raise InputError(
            f"latent={latent!r} is not known; use one of {', '.join(get_args(Latent))}."
        )
    folder = scratch_folder(scratch)
    saved = open_checkpoint(checkpoint, resume, checkpoint_every)
    conditional = ConditionalModel(model)
    cores = cores if cores is not None else available_cores()
    with Ahead(cores) as ahead:
        plan = assign_steps(
            model,
            step,
            conditional=conditional,
            latent=latent,
            target_accept=target_accept,
            threads=max(1, cores // chains),
            ahead=ahead.start,
        )
        if not quiet:
            print(plan)
        seed = random_seed if random_seed is not None else secrets.randbits(63)
        if saved is not None and saved.seed is not None:
            seed = saved.seed
        *seeds, start_seed = np.random.SeedSequence(seed).spawn(chains + 1)
        starts = _starts(conditional, chains, start_seed, initvals)
        record = RecordPlan(conditional, draws, chains, keep)
        if folder is not None:
            record.put_on_disk(folder, starts[0])
        running = min(chains, cores)
        memory = run_memory(record, starts[0], chains, running, plan.compound.methods)
        if not quiet:
            print(memory)
        check_memory(memory)
        task = ChainTask(plan.compound, record, tune, draws)
        settings = {
            "draws": draws,
            "tune": tune,
            "chains": chains,
            "random_seed": random_seed,
            "latent": latent,
            "target_accept": target_accept,
            "initvals": initvals,
        }
        with _held(saved, plan, task, starts, seed, settings):
            records = run_chains(task, starts, seeds, cores, progressbar, ahead, saved)
    result = _to_datatree(model, record, records)
    result.attrs.update({"tuning_steps": tune, "sampler": "nnmm_pymc", "random_seed": seed})
    if not quiet:
        warn_if_doubtful(result)
    return result


def _model(model: Any) -> pm.Model:
    if model is None:
        model = pm.Model.get_context(error_if_none=False)
    if not isinstance(model, pm.Model):
        given = "None" if model is None else type(model).__name__
        raise InputError(
            f"sample() needs a pymc.Model, not {given}; pass one (of a Network, network.model), or "
            "call network.fit()."
        )
    return model


def _held(
    saved: Checkpoint | None,
    plan: StepPlan,
    task: ChainTask,
    starts: list[Point],
    seed: int,
    settings: Mapping[str, Any],
) -> AbstractContextManager[None]:
    """The folder of the checkpoints, ours while the chains run."""
    if saved is None:
        return nullcontext()
    record = task.record
    kept = dict.fromkeys(record.summarised, "as moments") | dict.fromkeys(
        record.stored, "in memory"
    )
    kept |= dict.fromkeys(record.on_disk, "on disk")
    empty = ChainRecord.start(task.record, starts[0])
    n_bytes = len(starts) * checkpoint_bytes(empty, plan.compound, starts[0])
    return saved.opened(describe_run(plan, kept, settings), seed, n_bytes)


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        least = 0 if name == "tune" else 1
        if not isinstance(value, int | np.integer) or value < least:
            raise InputError(f"{name}={value!r} must be a whole number of at least {least}.")


def _starts(
    conditional: ConditionalModel, chains: int, seed: np.random.SeedSequence, initvals: Any
) -> list[Point]:
    points = conditional.prior_points(int(seed.generate_state(1)[0]) >> 2, chains)
    conditional.check_effect_parameters(points)
    if initvals is None:
        return points
    given = [initvals] * chains if isinstance(initvals, Mapping) else list(initvals)
    if len(given) != chains:
        raise InputError(f"initvals has {len(given)} entries for {chains} chains.")
    names = {rv.name: value for value, rv in conditional.rvs.items()}
    for point, values in zip(points, given, strict=True):
        for name, value in values.items():
            if name not in names:
                raise InputError(f"initvals names {name!r}, which is no free variable.")
            point[names[name]] = conditional.to_value(names[name], value, point)
    return points


def _to_datatree(model: pm.Model, plan: RecordPlan, records: list[ChainRecord]) -> xr.DataTree:
    dims = {
        name: [d for d in names if d is not None]
        for name, names in model.named_vars_to_dims.items()
        if all(d is not None for d in names)
    }
    coords = {k: np.asarray(v) for k, v in model.coords.items() if v is not None}
    stored = {
        name: plan.on_disk[name]
        if name in plan.on_disk
        else np.stack([r.stored[name] for r in records])
        for name in plan.stored
    }
    stats = {
        _stat_name(name): np.stack([r.stats[name] for r in records])
        for name in records[0].stats
        if not name.endswith(DROPPED_STATS)
    }
    groups = {"posterior": stored, "sample_stats": stats}
    # Constants, or the shared variables of pm.Data.
    observed = {rv.name: model.rvs_to_values[rv].eval(mode=QUICK_MODE) for rv in model.observed_RVs}
    tree = arviz_base.from_dict(
        {k: v for k, v in groups.items() if v},
        coords=_used(coords, stored, dims),
        dims={k: v for k, v in dims.items() if k in stored},
    )
    tree["observed_data"] = xr.DataTree(
        xr.Dataset({k: _labelled(v, dims.get(k), coords, k) for k, v in observed.items()})
    )
    tree["moments"] = xr.DataTree(_moments(plan, records, dims, coords))
    if plan.effects:
        tree["effect_draws"] = xr.DataTree(_effect_draws(plan, records, dims, coords))
    return tree


def _stat_name(name: str) -> str:
    """ArviZ's name of a statistic, behind the prefix of its step if there is one."""
    for ours, theirs in STAT_NAMES.items():
        if name == ours or name.endswith(f"_{ours}"):
            return name.removesuffix(ours) + theirs
    return name


def _used(coords, stored, dims) -> dict[str, Any]:
    used = {d for name in stored for d in dims.get(name, ())}
    return {k: v for k, v in coords.items() if k in used}


def _labelled(
    array: np.ndarray,
    names: Sequence[str] | None,
    coords: Mapping[str, Any],
    variable: str,
    leading: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """An array with the dims of its variable behind some leading dims."""
    leading = leading or {}
    rank = array.ndim - len(leading)
    names = list(names) if names is not None else [f"{variable}_dim_{i}" for i in range(rank)]
    labels = dict(leading) | {d: coords[d] for d in names if d in coords}
    return xr.DataArray(array, dims=[*leading, *names], coords=labels)


def _moments(plan, records, dims, coords) -> xr.Dataset:
    leading = {"chain": np.arange(len(records)), "half": np.array([0, 1])}
    out: dict[str, xr.DataArray] = {}
    for name in plan.summarised:
        halves = [r.moments[name] for r in records]
        parts = {
            "mean": [[h.mean for h in pair] for pair in halves],
            "variance": [[h.variance for h in pair] for pair in halves],
        }
        if name in (*plan.conditional.effects, *plan.conditional.joint_effects):
            parts["included"] = [[h.nonzero / max(1, h.count) for h in pair] for pair in halves]
        for part, values in parts.items():
            out[f"{name}_{part}"] = _labelled(
                np.asarray(values), dims.get(name), coords, name, leading
            )
    counts = [plan.draws // 2, plan.draws - plan.draws // 2]
    out["count"] = xr.DataArray(counts, dims=["half"], coords={"half": [0, 1]})
    return xr.Dataset(out)


def _effect_draws(plan, records, dims, coords) -> xr.Dataset:
    leading = {"chain": np.arange(len(records)), "draw": plan.thinned_at}
    out = {}
    for name in plan.effects:
        draws = np.empty((len(records), *records[0].effects[name].shape), np.float32)
        for chain, record in enumerate(records):
            draws[chain] = record.effects.pop(name)
        out[name] = _labelled(draws, dims.get(name), coords, name, leading)
    return xr.Dataset(out)

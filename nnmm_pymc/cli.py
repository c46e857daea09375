"""The command `nnmm`: a demonstration, fits and predictions from a shell.

What a user can mend ends in one sentence on standard error and exit status 2; anything else is a
fault of the package and shows its traceback.
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
import xarray as xr

from nnmm_pymc import store
from nnmm_pymc.checkpoint import Checkpoint
from nnmm_pymc.cli_equations import PRIORS, EquationOptions, check_values
from nnmm_pymc.cli_input import (
    chosen_columns,
    named_files,
    numeric_columns,
    outcomes_and_words,
    split,
)
from nnmm_pymc.cli_output import check_file, check_run, write_csv, write_run
from nnmm_pymc.data import Genotypes, Table
from nnmm_pymc.data.single_step import single_step as make_single_step
from nnmm_pymc.demo import run_demo
from nnmm_pymc.diagnose import ConvergenceWarning, judge_chains
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import ACTIVATIONS, FAMILIES
from nnmm_pymc.io import read_genotypes, read_table
from nnmm_pymc.io.connections import read_connections
from nnmm_pymc.io.pedigrees import read_pedigree
from nnmm_pymc.io.records import read_records
from nnmm_pymc.prediction import overlap, predict_network
from nnmm_pymc.registry import list_models, load_model

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Bayesian networks from genotypes through omics to phenotypes.",
)

Out = Annotated[Path, typer.Option(help="Folder for the result; made if absent.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a result in --out.")]
Draws = Annotated[int, typer.Option(help="Draws kept of each chain.")]
Chains = Annotated[int, typer.Option(help="Chains.")]
Transposed = Annotated[
    bool,
    typer.Option("--transposed", help="Genotypes (text) and omics have individuals in columns."),
]


def main() -> None:
    """Run the command line; the entry point of ``nnmm``."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal without the letters of a name shows their codes.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except InputError as error:
        print(f"nnmm: {error}", file=sys.stderr)
        raise SystemExit(2) from None


@app.command("demo")
def demo_command(
    out: Out = Path("nnmm-run"),
    draws: Draws = 6000,
    chains: Chains = 2,
    seed: Annotated[int, typer.Option(help="Of the data and the fit.")] = 1,
    overwrite: Overwrite = False,
) -> None:
    """Simulate a population with known truth, fit it, and compare: a minute or two."""
    check_run(out, [], overwrite)
    with _sampling():
        result = run_demo(draws, chains, random_seed=seed)
    _write(result, out)


@app.command("fit")
def fit_command(
    phenotypes: Annotated[Path, typer.Option(help="Text file or .parquet.")],
    out: Out,
    genotypes: Annotated[
        Path | None, typer.Option(help="Text file (also .gz) or PLINK .bed.")
    ] = None,
    pedigree: Annotated[
        Path | None,
        typer.Option(help="Individual, sire, dam; adds additive effects of all its members."),
    ] = None,
    single_step: Annotated[
        bool,
        typer.Option("--single-step", help="Join genotypes and pedigree in one relationship."),
    ] = False,
    omics: Annotated[
        Path | None, typer.Option(help="Text file or .parquet; without it, traits ~ genotypes.")
    ] = None,
    traits: Annotated[
        list[str] | None,
        typer.Option(help="Columns of the phenotypes, by commas; all numeric ones if absent."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Name in 'nnmm models', or a .toml file; has the equations.")
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FILE: a layer of the model besides geno, omics and pheno."),
    ] = None,
    connections: Annotated[
        list[str] | None,
        typer.Option(
            help="LAYER=FILE: below a header, a column of the layer and what reaches it, line by "
            "line; other columns are reached by all."
        ),
    ] = None,
    activation: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(ACTIVATIONS)}; identity if absent.")
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(help=f"Of the marker effects: {', '.join(PRIORS)}; bayesc if absent."),
    ] = None,
    omics_columns: Annotated[
        str | None, typer.Option(help="Omics to use, separated by commas.")
    ] = None,
    covariates: Annotated[
        str | None,
        typer.Option(
            help="Columns of the phenotypes that enter the traits, by commas; C(herd) makes a "
            "factor of a column of numbers."
        ),
    ] = None,
    random: Annotated[
        str | None,
        typer.Option(
            help="Columns whose levels (herds, litters) have random effects on the traits, by "
            "commas."
        ),
    ] = None,
    family: Annotated[
        str | None, typer.Option(help=f"Of the traits: {', '.join(FAMILIES)}; gaussian if absent.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Column with the known weights of the records.")
    ] = None,
    bounds: Annotated[
        str | None,
        typer.Option(help="Columns, LOWER,UPPER, between which censored values lie."),
    ] = None,
    correlated: Annotated[
        bool, typer.Option("--correlated", help="Let the residuals of the traits correlate.")
    ] = False,
    individual: Annotated[
        str | None,
        typer.Option(help="Column that says whose a record is, where individuals have several."),
    ] = None,
    direct: Annotated[
        bool, typer.Option(help="Add direct effects of the markers on the traits.")
    ] = False,
    maf: Annotated[
        float, typer.Option(help="Drop markers with a smaller minor allele frequency.")
    ] = 0.0,
    transposed: Transposed = False,
    id_column: Annotated[
        str | None, typer.Option(help="Column of the phenotypes with the IDs, if not the first.")
    ] = None,
    draws: Draws = 1000,
    tune: Annotated[int, typer.Option(help="Draws discarded before them.")] = 1000,
    chains: Chains = 4,
    cores: Annotated[int | None, typer.Option(help="Chains run at a time.")] = None,
    seed: Annotated[int | None, typer.Option(help="For the same result again.")] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder in which the run writes now and then where it is."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that was stopped in --checkpoint.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Fit a network to files and write its result and tables."""
    files = named_files("--connections", connections)
    usual = {"geno": genotypes, "ped": pedigree, "omics": omics, "h": single_step}
    taken = ("connections", "pheno", *(name for name, file in usual.items() if file))
    own_layers = named_files("--layer", layer, taken)
    read = [phenotypes, genotypes, pedigree, omics, *files.values(), *own_layers.values()]
    check_run(out, read, overwrite)
    _check_checkpoint(checkpoint, resume)
    own = {"--activation": activation, "--prior": prior, "--covariates": covariates}
    own |= {"--random": random, "--family": family, "--weights": weights}
    own |= {"--bounds": bounds}
    check_values(model, {**own, "--direct": direct, "--correlated": correlated})
    curved = {f"--activation {activation}": activation not in (None, "identity")}
    _check_needs("omics", omics, {**curved, "--direct": direct, "--omics-columns": omics_columns})
    _check_needs("genotypes", genotypes, {"--prior": prior, "--single-step": single_step})
    _check_needs("pedigree", pedigree, {"--single-step": single_step})
    description = None if model is None else load_model(model)
    layers = _inherited(genotypes, pedigree, single_step, maf, transposed)
    reports = [f"{g.source}: {g.report}\n" for g in layers.values() if isinstance(g, Genotypes)]
    if omics is not None:
        table = read_table(omics, transposed=transposed)
        layers["omics"] = chosen_columns(table, split(omics_columns) or list(table.frame.columns))
    layers |= own_layers
    pheno: Table
    if individual is None:
        pheno = read_table(phenotypes, id_column=id_column)
    else:
        pheno = read_records(phenotypes, individual)
    chosen = split(",".join(traits or []))
    if description is None:
        pheno.numeric(chosen)
        options = EquationOptions(
            traits=chosen,
            covariates=split(covariates),
            random=split(random),
            relatives=next((name for name in ("h", "ped") if name in layers), None),
            markers=PRIORS[prior or "bayesc"]() if "geno" in layers else None,
            activation=None if omics is None else activation or "identity",
            direct=direct,
            family=family or "gaussian",
            weights=weights,
            bounds=_pair(bounds, family),
            correlated=correlated,
        )
        if not chosen:
            others = {*options.used, *([individual] if individual else [])}
            options = replace(options, traits=numeric_columns(pheno, others))
        description = options.description()
    elif any(e.left == ("pheno",) for e in description.equations):
        pheno = outcomes_and_words(pheno, chosen, description.equations)
    elif chosen:
        raise InputError(f"--traits: the equations of {model} name their traits; leave it out.")
    layers["pheno"] = pheno
    connected = {name: read_connections(file) for name, file in files.items()}
    network = description.network(connected, **layers)
    print("\n".join([*reports, f"{network.alignment}\n\n{description}\n"]))
    for name, parents in connected.items():
        total = sum(map(len, parents.values()))
        print(f"{files[name]}: {total} connections of {len(parents)} columns of {name}.\n")
    print("Sampling (the first time compiles for some seconds):", flush=True)
    with _sampling():
        result = network.fit(
            draws, tune, chains, cores, random_seed=seed, checkpoint=checkpoint, resume=resume
        )
    _write(result, out)


@app.command("predict")
def predict_command(
    run: Annotated[Path, typer.Argument(help="Folder that 'nnmm fit' wrote.")],
    genotypes: Annotated[
        Path | None,
        typer.Option(help="Of the individuals to predict; none for a fit without markers."),
    ] = None,
    omics: Annotated[
        Path | None, typer.Option(help="What is known of their omics; used for the phenotype.")
    ] = None,
    covariates: Annotated[
        Path | None,
        typer.Option(help="Table with the covariates of the fit; their averages if absent."),
    ] = None,
    transposed: Transposed = False,
    id_column: Annotated[
        str | None, typer.Option(help="Column of the covariates with the IDs, if not the first.")
    ] = None,
    out: Annotated[Path, typer.Option(help="File for the predictions.")] = Path("predictions.csv"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file --out.")] = False,
) -> None:
    """Breeding values and phenotypes of new individuals from a fit."""
    fitted = run / store.RESULT_FILE if run.is_dir() else run
    check_file(out, [fitted, genotypes, omics, covariates], overwrite)
    result = store.load(run)
    new = None
    if genotypes is not None:
        new = read_genotypes(genotypes, transposed=transposed, drop_constant=False)
    known = None if omics is None else read_table(omics, transposed=transposed)
    table = None if covariates is None else read_table(covariates, id_column=id_column)
    said = overlap(result, new, known, table)
    write_csv(predict_network(result, new, known, table), out)
    print(f"{said}\nPredictions: {out}" if said else f"Predictions: {out}")


@app.command("models")
def models_command(
    name: Annotated[str | None, typer.Argument(help="Show this one in full.")] = None,
) -> None:
    """List the ready-made networks."""
    if name is not None:
        print(load_model(name))
        return
    for model in list_models().itertuples():
        print(f"{model.name:<22}{model.summary}")


def _pair(bounds: str | None, family: str | None) -> tuple[str, str] | None:
    """The two columns of --bounds."""
    columns = split(bounds)
    if (len(columns) == 2) is not (family == "censored") or len(columns) not in (0, 2):
        raise InputError(
            "--family censored, and no other, needs two columns: --bounds LOWER,UPPER."
        )
    return (columns[0], columns[1]) if columns else None


def _check_needs(option: str, file: Path | None, others: Mapping[str, Any]) -> None:
    """Refuse options that are about a file that is not given."""
    for other, value in others.items():
        if value and file is None:
            raise InputError(f"{other} is about {option}; give --{option} too.")


def _inherited(
    genotypes: Path | None, pedigree: Path | None, joined: bool, maf: float, transposed: bool
) -> dict[str, Any]:
    """Layers of genotypes and of relatives, or of both joined."""
    geno = None if genotypes is None else read_genotypes(genotypes, maf=maf, transposed=transposed)
    ped = None if pedigree is None else read_pedigree(pedigree)
    if joined:
        assert ped is not None and geno is not None
        return {"h": make_single_step(ped, geno)}
    layers = {"geno": geno, "ped": ped}
    return {name: layer for name, layer in layers.items() if layer is not None}


def _check_checkpoint(folder: Path | None, resume: bool) -> None:
    """Refuse a folder before the files are read, not after."""
    if folder is not None:
        Checkpoint(folder, resume)
    elif resume:
        raise InputError("--resume needs --checkpoint, the folder of the run to go on with.")


@contextlib.contextmanager
def _sampling() -> Iterator[None]:
    """Silence for the warning that `_write` says in words; Ctrl-C ends in the run's sentence."""
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        try:
            yield
        except KeyboardInterrupt as stop:
            print(f"nnmm: {stop}", file=sys.stderr)
            raise typer.Exit(130) from None


def _write(result: xr.DataTree, out: Path) -> None:
    """Written first, then said: a pipe that is closed loses nothing."""
    file, *others = write_run(result, out)
    print(f"\nConvergence:\n{judge_chains(result)}")
    print(f"\nResult: {file}")
    print(f"Tables and picture: {', '.join(map(str, others))}")


if __name__ == "__main__":
    main()

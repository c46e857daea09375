"""The command `nnmm`: a demonstration, fits and predictions from a shell.

What a user can mend ends in one sentence on standard error and exit status 2; anything else is a
fault of the package and shows its traceback.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
import xarray as xr

from nnmm_pymc import store
from nnmm_pymc.alphabet import MarkerPrior
from nnmm_pymc.checkpoint import Checkpoint
from nnmm_pymc.data import Table
from nnmm_pymc.demo import run_demo
from nnmm_pymc.diagnose import ConvergenceWarning, judge_chains
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import ACTIVATIONS, Equation
from nnmm_pymc.io import read_genotypes, read_table
from nnmm_pymc.io.text import TextFile, as_path
from nnmm_pymc.model_file import MARKER_PRIORS
from nnmm_pymc.prediction import overlap, predict_network
from nnmm_pymc.registry import NetworkDescription, list_models, load_model
from nnmm_pymc.summarise import breeding_values, heritability, marker_effects, weights

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Bayesian networks from genotypes through omics to phenotypes.",
)

PRIORS = {name.lower(): prior for name, prior in MARKER_PRIORS.items() if name != "MarkerPrior"}

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
    _check_free(out, overwrite)
    with _convergence_said_later():
        result = run_demo(draws, chains, random_seed=seed)
    _print_convergence(result)
    _write(result, out)


@app.command("fit")
def fit_command(
    genotypes: Annotated[Path, typer.Option(help="Text file (also .gz) or PLINK .bed.")],
    phenotypes: Annotated[Path, typer.Option(help="Text file or .parquet.")],
    out: Out,
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
        typer.Option(help="Columns of the phenotypes that enter the traits, by commas."),
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
    _check_free(out, overwrite)
    _check_checkpoint(checkpoint, resume)
    own = {"--activation": activation, "--prior": prior, "--covariates": covariates}
    _check_own_equations(model, {**own, "--direct": direct})
    curved = {f"--activation {activation}": activation not in (None, "identity")}
    _check_omics(omics, {**curved, "--direct": direct, "--omics-columns": omics_columns})
    description = None if model is None else load_model(model)
    geno = read_genotypes(genotypes, maf=maf, transposed=transposed)
    layers: dict[str, Any] = {"geno": geno}
    if omics is not None:
        table = read_table(omics, transposed=transposed)
        layers["omics"] = _columns(table, _split(omics_columns) or list(table.frame.columns))
    layers |= _named_files("--layer", layer, taken=("geno", "omics", "pheno", "connections"))
    pheno = read_table(phenotypes, id_column=id_column)
    factors, chosen = _split(covariates), _split(",".join(traits or []))
    if description is None:
        chosen = chosen or _numeric_columns(pheno, factors)
        markers = PRIORS[prior or "bayesc"]()
        description = _from_options(
            chosen, factors, activation or "identity", omics is not None, direct, markers
        )
    elif any(e.left == ("pheno",) for e in description.equations):
        pheno = _columns(pheno, chosen or _numeric_columns(pheno, []))
    elif chosen:
        raise InputError(f"--traits: the equations of {model} name their traits; leave it out.")
    layers["pheno"] = pheno
    files = _named_files("--connections", connections)
    connected = {name: _parents(file) for name, file in files.items()}
    network = description.network(connected, **layers)
    print(f"{geno.source}: {geno.report}\n\n{network.alignment}\n\n{description}\n")
    for name, parents in connected.items():
        total = sum(map(len, parents.values()))
        print(f"{files[name]}: {total} connections of {len(parents)} columns of {name}.\n")
    print("Sampling (the first time compiles for some seconds):", flush=True)
    with _convergence_said_later():
        result = network.fit(
            draws, tune, chains, cores, random_seed=seed, checkpoint=checkpoint, resume=resume
        )
    _print_convergence(result)
    _write(result, out)


@app.command("predict")
def predict_command(
    run: Annotated[Path, typer.Argument(help="Folder that 'nnmm fit' wrote.")],
    genotypes: Annotated[Path, typer.Option(help="Of the individuals to predict.")],
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
) -> None:
    """Breeding values and phenotypes of new individuals from a fit."""
    result = store.load(run)
    new = read_genotypes(genotypes, transposed=transposed, drop_constant=False)
    known = None if omics is None else read_table(omics, transposed=transposed)
    given = None if covariates is None else read_table(covariates, id_column=id_column)
    print(overlap(result, new, known, given))
    table = predict_network(result, new, known, given)
    _write_csv(table, out)
    print(f"Predictions: {out}")


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


def _split(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _numeric_columns(phenotypes: Table, covariates: list[str]) -> list[str]:
    """Traits that nobody chose: says which they are, and which of them look like codes."""
    columns = phenotypes.frame.drop(columns=covariates, errors="ignore")
    numeric = columns.select_dtypes(np.float64)
    names = list(numeric.columns)
    if not names:
        raise InputError(f"{phenotypes.source}: no column is numeric; a trait must be.")
    print(
        f"Traits: {', '.join(names)} (every numeric column of {phenotypes.source}; choose others "
        "with --traits)."
    )
    for name in names:
        values = np.unique(numeric[name].dropna())
        if 0 < len(values) <= 3 and np.all(values == np.round(values)):
            seen = ", ".join(f"{value:g}" for value in values)
            print(
                f"Warning: {name} has only the values {seen}, like a code, but is modelled as a "
                "continuous trait; leave it out with --traits if it is none."
            )
    print()
    return names


def _columns(table: Table, columns: list[str]) -> Table:
    """Some columns of a table, all of numbers."""
    frame = pd.DataFrame(table.numeric(columns), table.individuals, columns)
    return read_table(frame, name=table.source)


def _named_files(
    option: str, values: list[str] | None, taken: Collection[str] = ()
) -> dict[str, Path]:
    """Values NAME=FILE of an option, by name."""
    files: dict[str, Path] = {}
    for value in values or []:
        name, _, path = value.partition("=")
        if not name or not path:
            raise InputError(f"{option} {value} is not understood; write {option} NAME=FILE.")
        if name in files or name in taken:
            raise InputError(f"{option} {value}: {name!r} has a file already, or must be renamed.")
        files[name] = Path(path)
    return files


def _parents(path: Path) -> dict[str, list[str]]:
    """Connections: what reaches each column, from a file of two columns."""
    text = TextFile(as_path(path), path.name, None)
    parents: dict[str, list[str]] = {}
    for number, line in text:
        child, rest = text.split_name(line)
        parent = rest.decode().strip()
        if text.fields != 2 or not child.strip() or not parent:
            raise InputError(
                f"{path.name}: line {number} must have two fields: a column of the layer, and a "
                "marker or omic that reaches it."
            )
        parents.setdefault(child.strip(), []).append(parent)
    if text.id_name in parents:
        raise InputError(f"{path.name}: the first line must be a header, such as omic,marker.")
    return parents


def _check_own_equations(model: str | None, options: Mapping[str, Any]) -> None:
    """Refuse options that make equations beside a model, and values that are not known."""
    for option, value in options.items():
        if model is not None and value:
            raise InputError(f"{option} makes equations, but --model {model} has its own.")
    for option, known in (("--activation", ACTIVATIONS), ("--prior", PRIORS)):
        value = options[option]
        if value is not None and value not in known:
            raise InputError(f"{option} {value} is not known; give one of {', '.join(known)}.")


def _check_omics(omics: Path | None, options: Mapping[str, Any]) -> None:
    for option, value in options.items():
        if value and omics is None:
            raise InputError(f"{option} is about omics; give --omics too.")


def _check_free(out: Path, overwrite: bool) -> None:
    store.check_folder(out)
    if (out / store.RESULT_FILE).exists() and not overwrite:
        raise InputError(f"{out} has a result already; name another --out or add --overwrite.")


def _check_checkpoint(folder: Path | None, resume: bool) -> None:
    """Refuse a folder before the files are read, not after."""
    if folder is not None:
        Checkpoint(folder, resume)
    elif resume:
        raise InputError("--resume needs --checkpoint, the folder of the run to go on with.")


def _from_options(
    traits: list[str],
    covariates: list[str],
    activation: str,
    omics: bool,
    direct: bool,
    markers: MarkerPrior,
) -> NetworkDescription:
    """The equation of the omics, if there are any, and one for each trait."""
    inner = "omics" if activation == "identity" else f"{activation}(scale(omics))"
    genotyped = direct or not omics
    terms = ["1", *covariates, *([inner] if omics else []), *(["geno"] if genotyped else [])]
    priors = {"geno": markers}
    equations = [Equation("omics ~ 1 + geno", priors=priors)] if omics else []
    for trait in traits:
        formula = f"{trait} ~ {' + '.join(terms)}"
        equations.append(Equation(formula, priors=priors if genotyped else {}))
    return NetworkDescription("Equations", "from the options", (), tuple(equations))


def _convergence_said_later() -> warnings.catch_warnings:
    """Silence for the warning that `_print_convergence` says in words."""
    return warnings.catch_warnings(action="ignore", category=ConvergenceWarning)


def _print_convergence(result: xr.DataTree) -> None:
    print(f"\nConvergence:\n{judge_chains(result)}")


def _write(result: xr.DataTree, out: Path) -> None:
    """Result first: what follows can be made from it again."""
    from nnmm_pymc.plots import plot_fit

    print(f"\nResult: {store.save(result, out)}")
    tables = {
        "ebv": breeding_values(result),
        "marker_effects": marker_effects(result),
        "heritability": heritability(result),
        "weights": weights(result),
    }
    for name, table in tables.items():
        _write_csv(table, out / f"{name}.csv")
    print(f"Tables: {', '.join(str(out / f'{name}.csv') for name in tables)}")
    picture = out / "fit.png"
    plot_fit(result).savefig(picture, dpi=150, bbox_inches="tight")
    print(f"Picture: {picture}")


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    try:
        table.to_csv(path, index=False, float_format="%.6g")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}); name another place."
        ) from error


if __name__ == "__main__":
    main()

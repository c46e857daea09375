"""The command `nnmm`: a demonstration, fits and predictions from a shell.

What a user can mend ends in one sentence on standard error and exit status 2; anything else is a
fault of the package and shows its traceback.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import typer
import xarray as xr

from nnmm_pymc import store
from nnmm_pymc.alphabet import RRBLUP, BayesC, MarkerPrior
from nnmm_pymc.data import Table
from nnmm_pymc.demo import run_demo
from nnmm_pymc.diagnose import ConvergenceWarning, diagnose
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import ACTIVATIONS, Equation
from nnmm_pymc.io import read_genotypes, read_table
from nnmm_pymc.network import Layer, Network
from nnmm_pymc.prediction import overlap, predict_network
from nnmm_pymc.registry import list_models, load_model
from nnmm_pymc.summarise import breeding_values, heritability, marker_effects, weights

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Bayesian networks from genotypes through omics to phenotypes.",
)

PRIORS = {"bayesc": BayesC, "rrblup": RRBLUP}

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
    draws: Draws = 2500,
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
    activation: Annotated[str, typer.Option(help=f"One of {', '.join(ACTIVATIONS)}.")] = "identity",
    prior: Annotated[
        Literal["bayesc", "rrblup"], typer.Option(help="Of the marker effects.")
    ] = "bayesc",
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
    overwrite: Overwrite = False,
) -> None:
    """Fit a network to files and write its result and tables."""
    _check_free(out, overwrite)
    _check_activation(activation, omics is not None)
    geno = read_genotypes(genotypes, maf=maf, transposed=transposed)
    pheno = read_table(phenotypes, id_column=id_column)
    layers = [Layer("geno", geno), Layer("pheno", pheno)]
    if omics is not None:
        table = read_table(omics, transposed=transposed)
        columns = _split(omics_columns) or list(table.frame.columns)
        chosen = pd.DataFrame(table.numeric(columns), table.individuals, columns)
        layers.insert(1, Layer("omics", read_table(chosen, name=table.source)))
    elif omics_columns or direct:
        raise InputError("--omics-columns and --direct are about omics; give --omics too.")
    factors = _split(covariates)
    chosen_traits = _split(",".join(traits or [])) or _numeric_columns(pheno, factors)
    markers = PRIORS[prior]()
    equations = _equations(chosen_traits, factors, activation, omics is not None, direct, markers)
    network = Network(layers, equations)
    print(f"{geno.source}: {geno.report}\n\n{network.alignment}\n\nEquations:")
    print("\n".join(f"  {equation.formula}" for equation in equations))
    print(f"Marker effects: {markers!r}\n")
    print("Sampling (the first time compiles for some seconds):", flush=True)
    with _convergence_said_later():
        result = network.fit(draws, tune, chains, cores, random_seed=seed)
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


def _check_activation(activation: str, omics: bool) -> None:
    if activation not in ACTIVATIONS:
        raise InputError(
            f"--activation {activation} is not known; give one of {', '.join(ACTIVATIONS)}."
        )
    if activation != "identity" and not omics:
        raise InputError(f"--activation {activation} is about omics; give --omics too.")


def _check_free(out: Path, overwrite: bool) -> None:
    store.check_folder(out)
    if (out / store.RESULT_FILE).exists() and not overwrite:
        raise InputError(f"{out} has a result already; name another --out or add --overwrite.")


def _equations(
    traits: list[str],
    covariates: list[str],
    activation: str,
    omics: bool,
    direct: bool,
    markers: MarkerPrior,
) -> list[Equation]:
    """The equation of the omics, if there are any, and one for each trait."""
    inner = "omics" if activation == "identity" else f"{activation}(scale(omics))"
    genotyped = direct or not omics
    terms = ["1", *covariates, *([inner] if omics else []), *(["geno"] if genotyped else [])]
    priors = {"geno": markers}
    equations = [Equation("omics ~ 1 + geno", priors=priors)] if omics else []
    for trait in traits:
        formula = f"{trait} ~ {' + '.join(terms)}"
        equations.append(Equation(formula, priors=priors if genotyped else {}))
    return equations


def _convergence_said_later() -> warnings.catch_warnings:
    """Silence for the warning that `_print_convergence` says in words."""
    return warnings.catch_warnings(action="ignore", category=ConvergenceWarning)


def _print_convergence(result: xr.DataTree) -> None:
    print(f"\nConvergence:\n{diagnose(result)}")


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

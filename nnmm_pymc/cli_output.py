"""The files that `nnmm` writes: none of them over a file that is not its own."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pandas as pd
import xarray as xr

from nnmm_pymc import store
from nnmm_pymc.errors import InputError
from nnmm_pymc.level_effects import level_effects
from nnmm_pymc.summarise import breeding_values, heritability, marker_effects, weights
from nnmm_pymc.variance_components import variance_components

__all__ = ["check_file", "check_run", "write_csv", "write_run"]

TABLES: dict[str, Callable[..., pd.DataFrame]] = {
    "ebv.csv": breeding_values,
    "marker_effects.csv": marker_effects,
    "heritability.csv": heritability,
    "variance_components.csv": variance_components,
    "level_effects.csv": level_effects,
    "weights.csv": weights,
}
PICTURE = "fit.png"


def check_run(out: Path, inputs: Iterable[Path | None], overwrite: bool) -> None:
    """Refuse a folder for a run that cannot be written, or whose files are not of a run.

    Raises
    ------
    InputError
    """
    store.check_folder(out)
    own = [out / name for name in (*TABLES, PICTURE)]
    _check_no_input((out / store.RESULT_FILE, *own), inputs)
    if (out / store.RESULT_FILE).exists():
        if not overwrite:
            raise InputError(f"{out} has a result already; name another --out or add --overwrite.")
    elif taken := [path.name for path in own if path.exists()]:
        raise InputError(
            f"{out} has the file {taken[0]} but no result that it belongs to, and a fit would "
            "write over it; name another --out, or take it away."
        )


def check_file(out: Path, inputs: Iterable[Path | None], overwrite: bool) -> None:
    """Refuse a file that cannot be written, exists, or is an input.

    Raises
    ------
    InputError
    """
    store.check_folder(out.absolute().parent)
    if out.is_dir():
        raise InputError(f"{out} is a folder; name a file in it.")
    _check_no_input([out], inputs)
    if out.exists() and not overwrite:
        raise InputError(f"{out} exists already; name another --out or add --overwrite.")


def _check_no_input(outputs: Iterable[Path], inputs: Iterable[Path | None]) -> None:
    given = [path for path in inputs if path is not None]
    read = {path.resolve() for path in given}
    read |= {path.with_suffix(s).resolve() for path in given for s in (".bim", ".fam")}
    for path in outputs:
        if path.resolve() in read:
            raise InputError(f"{path} is an input, and would be written over; name another --out.")


def write_run(result: xr.DataTree, out: Path) -> list[Path]:
    """Write a result, its tables and its picture in place of those of a former run there.

    Returns
    -------
    list of Path
        What was written; first the result, from which the rest can be made again.

    Raises
    ------
    InputError
        If something cannot be written; it says where the result is.
    """
    file = _save(result, out)
    try:
        for name in (*TABLES, PICTURE):
            (out / name).unlink(missing_ok=True)
        tables = dict(_tables(result))
        for name, table in tables.items():
            _to_csv(table, out / name)
        _draw(result, out / PICTURE)
    except OSError as error:
        raise InputError(
            f"{out}: the result is saved, but not all of its tables and picture "
            f"({error.strerror or error}); make room, and make them from nnmm_pymc.load."
        ) from error
    return [file, *(out / name for name in tables), out / PICTURE]


def _tables(result: xr.DataTree) -> Iterator[tuple[str, pd.DataFrame]]:
    for name, make in TABLES.items():
        # Models without markers or random effects have no effects, without a pedigree too no EBV.
        with contextlib.suppress(InputError):
            yield name, make(result)


def _draw(result: xr.DataTree, path: Path) -> None:
    from nnmm_pymc.plots import plot_fit

    plot_fit(result).savefig(path, dpi=150, bbox_inches="tight")


def _save(result: xr.DataTree, out: Path) -> Path:
    """Hours of sampling are not lost because a disk has become full."""
    try:
        return store.save(result, out)
    except InputError as error:
        rescue = tempfile.mkdtemp(prefix="nnmm-")
        store.save(result, rescue)
        raise InputError(f"{error} The result is in {rescue} instead, without tables.") from error


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table to six digits.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _to_csv(table, path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}); name another place."
        ) from error


def _to_csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, float_format="%.6g")

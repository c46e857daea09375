"""Results on disk: one zipped Zarr file in the folder of a run, readable by xarray alone."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import xarray as xr
from zarr.storage import ZipStore

from nnmm_pymc.errors import InputError

__all__ = ["RESULT_FILE", "check_folder", "load", "save"]

#: Name of the result in the folder of a run.
RESULT_FILE = "result.zarr.zip"


def check_folder(folder: str | Path) -> None:
    """Refuse a folder that cannot be made or written in, without making it.

    Raises
    ------
    InputError
        If it, or what it would be made in, is a file or may not be written, or there is no room.
    """
    path = Path(folder).absolute()
    while not os.path.lexists(path):
        path = path.parent
    if not path.is_dir():
        raise InputError(f"{folder}: {path.name} is no folder; name another folder.")
    try:
        # Only writing shows whether one may: rights do not say that a disk is full or read-only.
        with tempfile.NamedTemporaryFile(dir=path, prefix=".nnmm-") as file:
            file.write(bytes(4096))
    except OSError as error:
        raise InputError(
            f"{folder}: folder {path} may not be written ({error.strerror}); name another folder."
        ) from error


def save(result: xr.DataTree, folder: str | Path) -> Path:
    """Write a result into a folder; an older one there is replaced only once this one is complete.

    Parameters
    ----------
    result : DataTree
        From `Network.fit` or `sample`.
    folder : str or Path
        Made if absent.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError
        If it cannot be written; an older result is left as it was.

    Examples
    --------
    >>> import tempfile
    >>> import xarray as xr
    >>> result = xr.DataTree(xr.Dataset({"x": ("draw", [1.0, 2.0])}))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = save(result, folder)
    ...     load(folder).identical(result)
    True
    """
    folder = Path(folder)
    target = folder / RESULT_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Beside the target, since a rename is atomic only within one file system.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".result-") as unfinished:
            tree = Path(unfinished, "tree")
            result.to_zarr(tree, consolidated=False)
            archive = shutil.make_archive(str(Path(unfinished, "result")), "zip", tree)
            with ZipFile(archive, "a") as file:
                file.comment = _digest(file)
            os.replace(archive, target)
    except OSError as error:
        raise InputError(
            f"The result cannot be written into {folder} ({error.strerror or error}); make room, "
            "or name another folder."
        ) from error
    return target


def _digest(archive: ZipFile) -> bytes:
    """Of the names in an archive: to Zarr, what is lost was never written, and reads as NaN."""
    return hashlib.sha256("\n".join(sorted(archive.namelist())).encode()).hexdigest().encode()


def load(folder: str | Path, *, in_memory: bool = True) -> xr.DataTree:
    """Read a result that `save` wrote.

    Parameters
    ----------
    folder : str or Path
        The folder of the run, or the file in it.
    in_memory : bool
        Read all of it now and close the file; or leave it open and read what is used.

    Returns
    -------
    DataTree

    Raises
    ------
    InputError
        If there is no result or it cannot be read.
    """
    path = Path(folder)
    path = path / RESULT_FILE if path.is_dir() else path
    if not path.is_file():
        raise InputError(
            f"{folder}: there is no result of a fit ({RESULT_FILE}) here; give the folder that "
            "'nnmm fit --out' or nnmm_pymc.store.save wrote."
        )
    try:
        with ZipFile(path) as archive:
            if archive.comment != _digest(archive):
                raise BadZipFile("parts of it are lost")
            if (spoilt := archive.testzip()) is not None:
                raise BadZipFile(f"{spoilt} is not what was written")
        store = ZipStore(path, mode="r")
        try:
            # xarray hands any Zarr store to Zarr, though its hints name only paths.
            tree = xr.open_datatree(store, engine="zarr", consolidated=False)  # type: ignore[arg-type]
            return tree.load() if in_memory else tree
        finally:
            if in_memory:
                store.close()
    except Exception as error:  # a damaged file can fail anywhere in zip, Zarr or a codec
        raise InputError(
            f"{path}: the result cannot be read ({type(error).__name__}: {error}); the file is "
            "damaged, so fit again."
        ) from error

"""Ready-made networks: listed and loaded by name, filled with data by layer, saved to a file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import pandas as pd

from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import Equation
from nnmm_pymc.model_file import read_model, write_model
from nnmm_pymc.network import Layer, Network

__all__ = ["NetworkDescription", "list_models", "load_model", "save_model"]


@dataclass(frozen=True)
class NetworkDescription:
    """A network without data.

    Attributes
    ----------
    name, summary : str
    references : tuple of str
    equations : tuple of Equation
    """

    name: str
    summary: str
    references: tuple[str, ...]
    equations: tuple[Equation, ...]

    def network(self, **layers: Any) -> Network:
        """The network of these equations with data.

        Parameters
        ----------
        **layers
            Data by the name that the equations use, as for `Layer`: ``geno=..., pheno=...``.

        Returns
        -------
        Network

        Raises
        ------
        InputError
            If a layer is lacking, or used by no equation.
        """
        return Network([Layer(name, data) for name, data in layers.items()], self.equations)

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.summary}"]
        for equation in self.equations:
            lines.append(f"  {equation.formula}")
            lines += [f"    {term}: {prior!r}" for term, prior in equation.priors.items()]
        return "\n".join([*lines, *(f"  {r}" for r in self.references)])


def list_models() -> pd.DataFrame:
    """The ready-made networks.

    Returns
    -------
    DataFrame
        Columns name, summary.

    Examples
    --------
    >>> "rrblup" in set(list_models()["name"])
    True
    """
    models = [_read(file) for _, file in sorted(_shipped().items())]
    return pd.DataFrame({"name": [m.name for m in models], "summary": [m.summary for m in models]})


def load_model(name_or_path: str | os.PathLike[str]) -> NetworkDescription:
    """Read the description of a network.

    Parameters
    ----------
    name_or_path : str or path
        A name that `list_models` has, or a TOML file (a path, or a text that ends in ``.toml``).

    Returns
    -------
    NetworkDescription

    Raises
    ------
    InputError
        For an unknown name, key, prior or distribution; names the file and the key.

    Examples
    --------
    >>> load_model("rrblup").equations[0].formula
    'pheno ~ 1 + geno'
    """
    if isinstance(name_or_path, os.PathLike) or name_or_path.endswith(".toml"):
        return _read(Path(name_or_path))
    shipped = _shipped()
    if name_or_path not in shipped:
        raise InputError(
            f"No model is called {name_or_path!r}; choose one of {', '.join(sorted(shipped))}, or "
            "give the path of a .toml file."
        )
    return _read(shipped[name_or_path])


def save_model(
    network: Network | NetworkDescription,
    path: str | os.PathLike[str],
    *,
    summary: str | None = None,
    references: Sequence[str] | None = None,
) -> None:
    """Write the equations of a network, with the priors that were given, but no data.

    Parameters
    ----------
    network : Network or NetworkDescription
    path : str or path
        A ``.toml`` file; its stem becomes the name.
    summary : str, optional
    references : sequence of str, optional
        Those of the description, or none, by default.

    Raises
    ------
    InputError
        If an equation has connections, or a prior is a function or another object of Python.

    Examples
    --------
    >>> save_model(load_model("bayesc"), "mine.toml", summary="My model")  # doctest: +SKIP
    """
    path = Path(path)
    if path.suffix != ".toml":
        raise InputError(f"{path}: the file of a model ends in '.toml'.")
    if summary is None:
        summary = network.summary if isinstance(network, NetworkDescription) else ""
    if references is None:
        references = network.references if isinstance(network, NetworkDescription) else ()
    text = write_model(path.stem, summary, references, network.equations, str(path))
    _described(tomllib.loads(text), str(path))  # what is written can be read
    path.write_text(text, encoding="utf-8")


def _shipped() -> dict[str, Traversable]:
    """Files of the installed package, or of the repository next to it."""
    folder: Traversable = resources.files("nnmm_pymc") / "_models"
    if not folder.is_dir():
        folder = Path(__file__).parents[1] / "models"
    files = folder.iterdir() if folder.is_dir() else ()
    return {f.name.removesuffix(".toml"): f for f in files if f.name.endswith(".toml")}


def _read(file: Traversable) -> NetworkDescription:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise InputError(f"{file}: is not valid TOML: {error}.") from None
    return _described(content, str(file))


def _described(content: Mapping[str, Any], file: str) -> NetworkDescription:
    name, summary, references, equations = read_model(content, file)
    return NetworkDescription(name, summary, references, equations)

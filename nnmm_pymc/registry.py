"""Ready-made networks: listed and loaded by name, filled with data by layer, saved to a file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import pandas as pd

from nnmm_pymc.data import LatentNodes
from nnmm_pymc.errors import InputError
from nnmm_pymc.formula import Equation
from nnmm_pymc.model_file import read_model, write_model
from nnmm_pymc.network import Layer, Network

__all__ = ["NetworkDescription", "list_models", "load_model", "save_model"]

LONGEST = 100_000  # characters of a file


@dataclass(frozen=True)
class NetworkDescription:
    """A network without data.

    Attributes
    ----------
    name, summary : str
    references : tuple of str
    equations : tuple of Equation
    latent : dict
        From a layer to its latent nodes (`nnmm_pymc.data.latent`).
    partial : tuple of str
        Left sides of the equations whose connections must come with the data: those of a partially
        connected network.
    kinships : tuple of str
        Layers of pedigrees and precision matrices, which formulas may call: ``ped(dam)``.
    """

    name: str
    summary: str
    references: tuple[str, ...]
    equations: tuple[Equation, ...]
    latent: Mapping[str, LatentNodes] = field(default_factory=dict)
    partial: tuple[str, ...] = ()
    kinships: tuple[str, ...] = ()

    def network(self, connections: Mapping[str, Any] | None = None, **layers: Any) -> Network:
        """The network of these equations with data.

        Parameters
        ----------
        connections : mapping, optional
            From the left side of an equation to its connections, as in `Equation`:
            ``{"omics": {"gene1": ["snp3", "snp7"], ...}}``. Or from a term that only one equation
            has to the connections of that term. Other equations keep their own.
        **layers
            Data by the name that the equations use, as for `Layer`: ``geno=..., pheno=...``; or a
            `Layer`, for what only that says: ``pheno=Layer("pheno", data, individual="cow")``.
            Layers of latent nodes need none; ``hidden=latent(5)`` changes their number.

        Returns
        -------
        Network

        Raises
        ------
        InputError
            If a layer is lacking, or used by no equation; if connections are lacking, or are of no
            equation or of several.
        """
        lacking = {name: nodes for name, nodes in self.latent.items() if name not in layers}
        given = [
            replace(data, name=name) if isinstance(data, Layer) else Layer(name, data)
            for name, data in (layers | lacking).items()
        ]
        return Network(given, self._connected(connections or {}))

    def _connected(self, connections: Mapping[str, Any]) -> tuple[Equation, ...]:
        """The equations with these connections."""
        found: dict[str, Mapping[str, Any]] = {}
        for key, value in connections.items():
            if not isinstance(value, Mapping):
                raise InputError(
                    f"The connections of {key!r} are {value!r}; give a mapping from columns to the "
                    "markers or omics that reach them."
                )
            name = self._equation_of(key)
            own = value if name == key else {key: value}
            # As it is where it is alone: it may know what its header was.
            found[name] = {**found[name], **own} if name in found else own
        equations = {"+".join(e.left): e for e in self.equations}
        for name, value in found.items():
            equations[name] = replace(equations[name], connections=value)
        for name in self.partial:
            if equations[name].connections is None:
                raise InputError(
                    f"Model {self.name!r} is partially connected: {name!r} needs connections, "
                    "which say by name what reaches each of its columns."
                )
        return tuple(equations.values())

    def _equation_of(self, key: str) -> str:
        """Left side of the equation that connections speak of, by its left side or a term."""
        by_term = []
        for equation in self.equations:
            name = "+".join(equation.left)
            if key == name:
                return name
            if key in {word for t in equation.terms for word in (t.label, *t.names)}:
                by_term.append(name)
        if len(by_term) == 1:
            return by_term[0]
        where = f"of several equations ({', '.join(by_term)})" if by_term else "of no equation"
        left = ", ".join("+".join(e.left) for e in self.equations)
        raise InputError(
            f"Connections are given for {key!r}, which is a term {where}; name a left side: {left}."
        )

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.summary}"]
        for equation in self.equations:
            lines.append(f"  {equation.formula}")
            lines += [f"    {term}: {prior!r}" for term, prior in equation.priors.items()]
        lines += [f"  latent {k}: {', '.join(v.names)}" for k, v in self.latent.items()]
        lines += [f"  connections of {name}: to be given with the data" for name in self.partial]
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
    if not isinstance(name_or_path, str | os.PathLike):
        raise InputError(
            f"A model is loaded by its name or the path of a .toml file, not {name_or_path!r}."
        )
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

    Connections name markers and omics, so they are data: the file only says which equations need
    them.

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
        If an equation has a function of your own, or a prior is a function or another object of
        Python, names markers, or is shared by a tuple of columns.

    Examples
    --------
    >>> save_model(load_model("bayesc"), "mine.toml", summary="My model")  # doctest: +SKIP
    """
    path = Path(path)
    if path.suffix != ".toml":
        raise InputError(f"{path}: the file of a model ends in '.toml'.")
    model = network if isinstance(network, NetworkDescription) else _without_data(network)
    summary = model.summary if summary is None else summary
    references = model.references if references is None else tuple(references)
    model = replace(model, name=path.stem, summary=summary, references=references)
    text = write_model(model, str(path))
    _described(tomllib.loads(text), str(path))  # what is written can be read
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}); name another place."
        ) from error


def _without_data(network: Network) -> NetworkDescription:
    latent = {k.name: k.data for k in network.layers if isinstance(k.data, LatentNodes)}
    kinships = tuple(network.kinships)
    return NetworkDescription("", "", (), network.equations, latent, kinships=kinships)


def _shipped() -> dict[str, Traversable]:
    """Files of the installed package, or of the repository next to it."""
    folder: Traversable = resources.files("nnmm_pymc") / "_models"
    if not folder.is_dir():
        folder = Path(__file__).parents[1] / "models"
    files = folder.iterdir() if folder.is_dir() else ()
    return {f.name.removesuffix(".toml"): f for f in files if f.name.endswith(".toml")}


def _read(file: Traversable) -> NetworkDescription:
    try:
        text = file.read_text(encoding="utf-8")
        if len(text) > LONGEST:
            raise InputError(
                f"{file}: has {len(text)} characters, more than {LONGEST}; check that it is a "
                "model."
            )
        content = tomllib.loads(text)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check the path.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: is not valid TOML: {error}; correct it there.") from None
    return _described(content, str(file))


def _described(content: Mapping[str, Any], file: str) -> NetworkDescription:
    try:
        return NetworkDescription(**read_model(content, file))
    except RecursionError:
        raise InputError(f"{file}: a prior is nested too deeply; write it more simply.") from None

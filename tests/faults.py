"""Deliberate faults of the kinds known from other packages, put into the sampler for a while.

A fault is a piece of source that is replaced. A function is compiled anew where it stands, so that
steps made before it are wrong at once; of a kernel its whole module, since a compiled function has
taken in those that it calls.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest.mock import patch

from numba import njit

from nnmm_pymc.kernels import jit


@dataclass(frozen=True)
class Fault:
    """One deliberate fault.

    Attributes
    ----------
    name : str
        What is wrong.
    place : str
        ``module:function`` or ``module:Class.method`` below ``nnmm_pymc``; of a kernel ``module``.
    old, new : str
        The source that is replaced, which must be there, and what takes its place.
    model : str
        The model whose sampler shows it (`small_models.MODELS`).
    shown_by : str
        ``"conditionals"`` (`nnmm_pymc.check_conditionals`), or what `nnmm_pymc.geweke` must find
        wrong: a kind of step, or ``"all steps"``.
    built : bool
        Whether the steps must be assigned after the fault is put in.
    """

    name: str
    place: str
    old: str
    new: str
    model: str
    shown_by: str = "conditionals"
    built: bool = False

    @property
    def is_kernel(self) -> bool:
        """Whether it is in compiled code."""
        return ":" not in self.place

    @contextmanager
    def put_in(self) -> Iterator[None]:
        """The sampler with this fault."""
        module = importlib.import_module(f"nnmm_pymc.{self.place.split(':')[0]}")
        with self._kernel(module) if self.is_kernel else self._function(module):
            yield

    @contextmanager
    def _function(self, module: ModuleType) -> Iterator[None]:
        *owners, name = self.place.split(":")[1].split(".")
        owner: Any = module
        for part in owners:
            owner = getattr(owner, part)
        function = inspect.unwrap(getattr(owner, name))
        source = self._replaced(textwrap.dedent(inspect.getsource(function)))
        made: dict[str, Any] = {}
        exec(compile(source, f"<{self.name}>", "exec"), function.__globals__, made)
        users = [owner] if owners else _users(name, function)
        with _patched([(user, name, made[name]) for user in users]):
            yield

    @contextmanager
    def _kernel(self, module: ModuleType) -> Iterator[None]:
        source = self._replaced(inspect.getsource(module))
        # What comes from no file cannot be kept in a cache.
        with _patched([(jit, "njit", lambda **options: njit(**options | {"cache": False}))]):
            users = self._anew(module, source)
        with _patched(users):
            yield

    def _anew(self, module: ModuleType, source: str) -> list[tuple[Any, str, Any]]:
        """Who uses what of a module of kernels made from a source, other kernels made anew too."""
        made = ModuleType(module.__name__)
        made.__file__ = module.__file__
        exec(compile(source, f"<{self.name}>", "exec"), made.__dict__)
        names = [n for n in module.__all__ if callable(getattr(made, n))]
        users = [(u, n, getattr(made, n)) for n in names for u in _users(n, getattr(module, n))]
        kernels = {u for u, *_ in users if u is not module and ".kernels." in u.__name__}
        with patch.dict(sys.modules, {module.__name__: made}):
            for kernel in kernels:
                users += self._anew(kernel, inspect.getsource(kernel))
        return users

    def _replaced(self, source: str) -> str:
        if self.old not in source:
            raise LookupError(f"{self.place} has no {self.old!r}: it was rewritten.")
        return source.replace(self.old, self.new)


def _users(name: str, function: Any) -> list[ModuleType]:
    """Modules of the package that have imported a function."""
    modules = [m for m in sys.modules.values() if m.__name__.startswith("nnmm_pymc")]
    return [m for m in modules if getattr(m, name, None) is function]


@contextmanager
def _patched(users: list[tuple[Any, str, Any]]) -> Iterator[None]:
    keep = [(user, name, getattr(user, name)) for user, name, _ in users]
    try:
        for user, name, value in users:
            setattr(user, name, value)
        yield
    finally:
        for user, name, value in keep:
            setattr(user, name, value)

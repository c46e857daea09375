"""Small valid files of every format that the package reads."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import xarray as xr

from nnmm_pymc import save

Rng = np.random.Generator


@dataclass(frozen=True)
class Case:
    """Files by name, the first of which the reader is given, and how they were written."""

    kind: str
    files: dict[str, bytes]
    sep: str | None = ","  # None: white space
    r_header: bool = False  # as R writes it, without a name for the IDs
    transposed: bool = False
    spoilt_by: tuple[str, ...] = ()

    @property
    def main(self) -> str:
        """Name of the file that the reader is given."""
        return next(iter(self.files))


def pick(rng: Rng, options):
    """One of them."""
    return options[int(rng.integers(len(options)))]


def _ids(n: int, rng: Rng) -> list[str]:
    form = pick(rng, ["i{0}", "{0:03d}", "{1}", "Ind_{0}é", "HG{0}.1"])
    return [form.format(k, 7 * k) for k in range(n)]


def _text(rows: list[list[str]], sep: str | None, rng: Rng, quoted: bool = False) -> bytes:
    """Rows as text; names in quotation marks if `quoted`, or sometimes."""
    quoted = quoted or rng.random() < 0.2
    lines = [
        (sep or " ").join(
            f'"{cell}"' if quoted and (i == 0 or j == 0) else cell for j, cell in enumerate(row)
        )
        for i, row in enumerate(rows)
    ]
    return "".join(line + "\n" for line in lines).encode()


def _layout(kind: str, file: str, rows: list[list[str]], rng: Rng) -> Case:
    """Rows, the first of which is the header, in one of the layouts that the readers know."""
    sep, style = pick(rng, [",", "\t", ";", None]), rng.random()
    if style < 0.15:  # R quotes names, with commas always
        text = _text([rows[0][1:], *rows[1:]], sep, rng, quoted=True)
        return Case(kind, {file: text}, sep, r_header=True)
    if style < 0.35:
        rows = [list(row) for row in zip(*rows, strict=True)]
        return Case(kind, {file: _text(rows, sep, rng)}, sep, transposed=True)
    return Case(kind, {file: _text(rows, sep, rng)}, sep)


def _table(rng: Rng) -> Case:
    n = int(rng.integers(1, 7))
    columns = {
        "y": [f"{v:.4f}" for v in rng.normal(0, 50, n)],
        "gene1": [str(v) for v in rng.normal(0, 1e-6, n)],
        "age": [str(v) for v in rng.integers(0, 2000, n)],
        "big": [f"{v:.3e}" for v in rng.normal(0, 1e12, n)],
        "sex": [pick(rng, "mf") for _ in range(n)],
        "case": [pick(rng, ["TRUE", "FALSE"]) for _ in range(n)],
    }
    names = [str(name) for name in rng.permutation(list(columns))[: rng.integers(1, 7)]]
    cells = [["NA" if rng.random() < 0.1 else columns[c][i] for c in names] for i in range(n)]
    ids = _ids(n, rng)
    rows = [["ID", *names], *([i, *row] for i, row in zip(ids, cells, strict=True))]
    return _layout("table", "omics.txt", rows, rng)


def _genotypes(rng: Rng) -> Case:
    n, p = int(rng.integers(2, 7)), int(rng.integers(1, 7))
    calls = rng.integers(0, 3, (n, p)).astype(object)
    if rng.random() < 0.3:
        calls[-1] = np.round(rng.uniform(0, 2, p), 3)
    cells = [["NA" if rng.random() < 0.05 else str(c) for c in row] for row in calls]
    cells[0], cells[1] = ["0"] * p, ["2"] * p
    markers = [f"snp{j}" for j in range(p)]
    rows = [["ID", *markers], *([i, *row] for i, row in zip(_ids(n, rng), cells, strict=True))]
    return _layout("genotypes", "geno.txt", rows, rng)


def _bed(rng: Rng) -> Case:
    n, p = int(rng.integers(2, 10)), int(rng.integers(10, 14))
    codes = np.zeros((p, -(-n // 4) * 4), np.uint8)
    codes[:, :n] = rng.integers(0, 4, (p, n))
    codes[:, :2] = [0, 3]
    packed = (codes.reshape(p, -1, 4) << np.array([0, 2, 4, 6])).sum(axis=2).astype(np.uint8)
    shared = rng.random() < 0.2
    fam = "".join(f"F{k} {1 if shared else f'i{k}'} 0 0 1 -9\n" for k in range(n))
    bim = "".join(f"1\trs{j}\t0\t{100 * j}\tA\tG\n" for j in range(p))
    bed = b"\x6c\x1b\x01" + packed.tobytes()
    return Case("bed", {"x.bed": bed, "x.bim": bim.encode(), "x.fam": fam.encode()}, None)


def _relationship(rng: Rng) -> Case:
    n = int(rng.integers(1, 5))
    root = rng.normal(size=(n, n))
    matrix = np.round(root @ root.T + np.eye(n), 6)
    names = _ids(n, rng)
    rows = [["ID", *names], *([i, *map(str, row)] for i, row in zip(names, matrix, strict=True))]
    return Case("relationship", {"G.csv": _text(rows, ",", rng)})


def _edges(rng: Rng) -> Case:
    rows = [[f"gene{rng.integers(4)}", f"snp{rng.integers(99)}"] for _ in range(rng.integers(1, 8))]
    return Case("edges", {"edges.tsv": _text([["omic", "marker"], *rows], "\t", rng)}, "\t")


TOML = """name = "m"
summary = "A network"
references = ["doi:10.1/x"]
latent = { hidden = 3 }
[[equation]]
formula = "omics ~ 1 + geno"
[equation.priors.geno]
prior = "BayesC"
inclusion = 0.1
slab_variance = { prior = "Gamma", alpha = 2, beta = [1, 2.5] }
[[equation]]
formula = "hidden ~ 1 + geno"
[[equation]]
formula = "y ~ 1 + tanh(scale(omics)) + sex:age"
priors.omics = { prior = "Normal", mu = 0, sigma = 1e-3, dims = ["omic"] }
priors.residual_variance = { prior = "InverseGamma", alpha = 2.5, beta = 1.25 }
"""


def tree() -> xr.DataTree:
    """A small result."""
    data = {"x": (("chain", "draw"), np.arange(12.0).reshape(2, 6)), "name": ("trait", ["y", "z"])}
    return xr.DataTree.from_dict({"/posterior": xr.Dataset(data)})


@cache
def _saved() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return Path(save(tree(), folder)).read_bytes()


SAMPLES: dict[str, tuple[Callable[[Rng], Case], float]] = {
    "table": (_table, 0.34),
    "genotypes": (_genotypes, 0.28),
    "bed": (_bed, 0.12),
    "relationship": (_relationship, 0.08),
    "edges": (_edges, 0.06),
    "model": (lambda rng: Case("model", {"mine.toml": TOML.encode()}), 0.09),
    "result": (lambda rng: Case("result", {"result.zarr.zip": _saved()}), 0.03),
}

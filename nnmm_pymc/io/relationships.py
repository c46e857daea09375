"""Reading relationship matrices: pedigree, genomic or any other kernel between individuals."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from nnmm_pymc.data import Relationship, relationship
from nnmm_pymc.data.names import clean_names, short
from nnmm_pymc.data.numbers import is_real
from nnmm_pymc.errors import InputError
from nnmm_pymc.io.tables import read_table

__all__ = ["read_relationship"]


def read_relationship(data: Any, individuals: Sequence[object] | None = None) -> Relationship:
    """Read a relationship matrix for `GBLUP` (or `RRBLUP`) as a layer of a network.

    Parameters
    ----------
    data : path, DataFrame or array
        Square; rows and columns are individuals, by name in a table (first column of a file: IDs).
        Columns are put into the order of the rows.
    individuals : sequence, optional
        IDs of the rows of an array.

    Returns
    -------
    Relationship
        All individuals of the matrix get breeding values, those without phenotypes too.

    Raises
    ------
    InputError
        The matrix is not square, complete, symmetric and positive semi-definite, or its columns
        are not the individuals of its rows.

    Examples
    --------
    >>> import numpy as np
    >>> read_relationship(np.eye(3) + 0.5, individuals=["a", "b", "c"])
    <Genotypes array: 3 individuals x 3 markers, 0.0 MB float32, 0.00% missing, 0 markers dropped>
    """
    if isinstance(data, np.ndarray):
        if data.ndim != 2 or not is_real(data.dtype):
            raise InputError(
                f"array: a relationship matrix is a square of numbers, but this has shape "
                f"{data.shape} and holds {data.dtype}; give an array of two dimensions."
            )
        if individuals is None:
            individuals = [str(i + 1) for i in range(len(data))]
        names = clean_names(individuals, "individuals of the relationship matrix")
        return relationship(np.asarray(data, float), names, "array")
    if individuals is not None:
        raise InputError("A table names its individuals; give `individuals` with an array only.")
    table = read_table(data, name="relationship" if isinstance(data, pd.DataFrame) else None)
    names = table.individuals
    columns = clean_names(table.frame.columns, f"columns of {table.source}")
    if set(columns) != set(names):
        odd = sorted(set(columns) ^ set(names))[0]
        raise InputError(
            f"{table.source}: rows and columns of a relationship matrix are the same individuals, "
            f"but {short(odd)!r} is in only one of them; give the whole matrix."
        )
    matrix = table.numeric(list(table.frame.columns))[:, columns.get_indexer(names)]
    return relationship(matrix, names, os.path.basename(str(table.source)))

"""Reading which markers or omics reach which column: a table with a line for each edge."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from nnmm_pymc.data.names import name_text
from nnmm_pymc.edge_table import EdgeTable
from nnmm_pymc.errors import InputError
from nnmm_pymc.io.text import TextFile, as_path

__all__ = ["read_connections"]


def read_connections(source: str | Path | pd.DataFrame) -> dict[str, list[str]]:
    """Read the connections of an `Equation` from a table of edges.

    Parameters
    ----------
    source
        Text file with a header, or DataFrame, of two columns: a column of the left side, and a
        marker or omic that reaches it.

    Returns
    -------
    dict
        From each column named to what reaches it. A column that is not named is reached by all.
        For markers of several layers read a table each, and give an `Equation` the connections by
        term: ``{"chr1": read_connections(...), "chr2": read_connections(...)}``.

    Raises
    ------
    InputError
        The table has not two columns, a cell is empty, or the first line is no header.

    Examples
    --------
    >>> import pandas as pd
    >>> edges = pd.DataFrame({"omic": ["gene1", "gene2", "gene1"], "marker": ["m1", "m2", "m3"]})
    >>> read_connections(edges)
    {'gene1': ['m1', 'm3'], 'gene2': ['m2']}
    """
    if isinstance(source, pd.DataFrame):
        if source.shape[1] != 2:
            raise InputError(
                f"DataFrame: connections have two columns, not {source.shape[1]}: a column of the "
                "layer, and a marker or omic that reaches it."
            )
        pairs = zip(*(map(name_text, source.iloc[:, j]) for j in (0, 1)), strict=True)
        parents = _parents(enumerate(pairs, start=1), "DataFrame: row")
        child, parent = map(name_text, source.columns)
        return EdgeTable(parents, "DataFrame", (child, parent))
    path = as_path(source)
    text = TextFile(path, path.name, None)
    edges = [
        (line, (row.name.strip(), *(cell.decode().strip() for cell in row.cells)))
        for line, row in text.rows()
    ]
    parents = _parents(edges, f"{path.name}: line")
    if text.id_name in parents or any(text.names[0] in names for names in parents.values()):
        raise InputError(f"{path.name}: the first line must be a header, such as omic,marker.")
    return EdgeTable(parents, path.name, (text.id_name, text.names[0]))


def _parents(edges: Iterable[tuple[int, tuple[str, ...]]], place: str) -> dict[str, list[str]]:
    """Edges by their first end."""
    parents: dict[str, list[str]] = {}
    for position, names in edges:
        if len(names) != 2 or not all(names):
            raise InputError(
                f"{place} {position} must have two fields: a column of the layer, and a marker or "
                "omic that reaches it."
            )
        parents.setdefault(names[0], []).append(names[1])
    return parents

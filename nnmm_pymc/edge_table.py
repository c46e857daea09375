"""Connections that were read from a table, with the header that stood above them."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["EdgeTable"]


class EdgeTable(dict[str, list[str]]):
    """From each column to what reaches it.

    The header is kept because only beside the names of a network can it be told from an edge, which
    a file without a header would lose.

    Parameters
    ----------
    parents : mapping of str to list of str
    source : str
        Name of the file.
    header : tuple of str
        The two fields of its first line.
    """

    def __init__(
        self, parents: Mapping[str, list[str]], source: str, header: tuple[str, str]
    ) -> None:
        super().__init__(parents)
        self.source, self.header = source, header

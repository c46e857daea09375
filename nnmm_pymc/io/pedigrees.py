"""Reading pedigrees: who is whose sire and dam, by name, in rows of any order."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nnmm_pymc.data.names import UNKNOWN_PARENT, as_texts, clean_names, name_texts, some
from nnmm_pymc.data.pedigree import Pedigree
from nnmm_pymc.data.pedigree_report import PedigreeReport
from nnmm_pymc.errors import InputError
from nnmm_pymc.io.text import TextFile, as_path

__all__ = ["has_parents", "read_pedigree"]

# Names of the columns, in small letters and digits only; the first is the one that messages use.
INDIVIDUAL = (
    "individual", "id", "animal", "ind", "indiv", "individualid", "animalid", "indid", "iid",
    "anim", "progeny", "offspring", "plant",
)  # fmt: skip
SIRE = (
    "sire", "father", "sireid", "fatherid", "dad", "dadid", "pat", "pid", "male", "maleparent",
    "parent1", "p1",
)  # fmt: skip
DAM = (
    "dam", "mother", "damid", "motherid", "mom", "mum", "momid", "mumid", "mat", "mid", "female",
    "femaleparent", "parent2", "p2",
)  # fmt: skip

GROUP = re.compile(
    r"-\d+|(upg|ugp|phantom|metafounder)[ _.-]*\w{0,3}|(mf|group|grp)[ _.-]*\d+", re.IGNORECASE
)


def read_pedigree(
    source: str | Path | pd.DataFrame | Pedigree,
    *,
    columns: Sequence[str] | None = None,
    sep: str | None = None,
    missing_values: Sequence[str] = UNKNOWN_PARENT,
    monoecious: bool = False,
) -> Pedigree:
    """Read a pedigree, put parents before their offspring, and report who was added.

    Parameters
    ----------
    source
        Text file (also gzipped) with a header, or DataFrame, a row for each individual. The
        columns are found by name whatever their order: individual (or id, animal, ...), sire
        (father, ...) and dam (mother, ...); individuals may also be the index of a DataFrame.
    columns
        Names of the columns of individual, sire and dam, if others.
    sep
        Separator of a text file; found from its first lines if not given. A space stands for any
        white space.
    missing_values
        Texts of an unknown parent. A parent that is known but has no row becomes a founder.
    monoecious
        An individual may be both sire and dam, also of the same offspring: selfing, as in plants.

    Returns
    -------
    Pedigree
        Rows that are in order already keep theirs, after the founders that were added; its
        `report` says which these are.

    Raises
    ------
    InputError
        A column is not found, an individual has no name or two rows, is its own ancestor or both
        sire and dam, or a parent looks like a genetic group; the message says where.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = {"id": ["c", "b"], "father": ["a", "a"], "mother": ["b", "0"], "sex": ["f", "f"]}
    >>> print(read_pedigree(pd.DataFrame(rows)))
    3 individuals, generations 0 to 2.
    Founders: 1; with one known parent: 1; sires: 1; dams: 1.
    Inbred: 1; mean inbreeding 0.08333, largest 0.25.
    2 rows, 3 individuals.
    Added as founders, parents without a row: 1 (a).
    Columns not used: 1 (sex).
    """
    if isinstance(source, Pedigree):
        return source
    place, lines = "row", None
    if isinstance(source, pd.DataFrame):
        name, frame = "DataFrame", _with_index(source, columns)
    else:
        path = as_path(source)
        name, place = path.name, "line"
        frame, lines = _read_text(path, sep)
    where = lines or range(1, len(frame) + 1)
    chosen = _find_columns(frame.columns, columns, name)
    if len(frame) == 0:
        raise InputError(f"{name}: there are no individuals.")
    unknown = set(as_texts(missing_values))
    ids = clean_names(frame.iloc[:, chosen[0]], name, place=place, positions=where)
    for row in np.flatnonzero(ids.isin(unknown))[:1]:
        raise InputError(
            f"{name}: {place} {where[row]} is about the individual {ids[row]!r}, which means an "
            "unknown parent: give it a name, or say what is unknown with missing_values."
        )
    sires, dams = (_parents(frame.iloc[:, column], unknown) for column in chosen[1:])
    _refuse_groups({"individual": ids, "sire": sires, "dam": dams}, name, place, where)
    if not monoecious:
        _refuse_both(sires, dams, name, place, where)
    unused = frame.columns.delete(list(chosen)).astype(str)
    return _linked(ids, sires, dams, unused, name)


def has_parents(source: object) -> bool:
    """Whether a table, or a text file by its header, has columns of sires and of dams."""
    if isinstance(source, pd.DataFrame):
        names = [_plain(name) for name in source.columns]
    elif isinstance(source, str | Path):
        try:
            names = [_plain(name) for name in TextFile(as_path(source), str(source), None).names]
        except (InputError, OSError, UnicodeDecodeError):  # no text: whoever reads it says why
            return False
    else:
        return False
    return any(name in SIRE for name in names) and any(name in DAM for name in names)


def _with_index(frame: pd.DataFrame, columns: Sequence[str] | None) -> pd.DataFrame:
    """The frame with the individuals in its first column, if its index holds them."""
    index = frame.index
    if columns is None:
        name = "individual"
        is_count = isinstance(index, pd.RangeIndex) and index.name is None
        elsewhere = is_count or any(_plain(column) in INDIVIDUAL for column in frame.columns)
    else:
        name = columns[0]
        elsewhere = index.name != name
    if elsewhere:
        return frame
    frame = frame.copy(deep=False)
    frame.insert(0, name, list(index))
    return frame


def _read_text(path: Path, sep: str | None) -> tuple[pd.DataFrame, list[int]]:
    """All cells as text, and the line of every row."""
    text = TextFile(path, path.name, sep)
    rows, lines = [], []
    for number, row in text.rows():
        rows.append([row.name, *(cell.decode() for cell in row.cells)])
        lines.append(number)
    return pd.DataFrame(rows, columns=[text.id_name or "individual", *text.names]), lines


def _plain(name: object) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _find_columns(
    names: pd.Index, given: Sequence[str] | None, source: str
) -> tuple[int, int, int]:
    """Positions of the columns of individual, sire and dam."""
    if given is not None and (isinstance(given, str) or len(given) != 3):
        raise InputError(f"columns={given!r} must be three names: individual, sire and dam.")
    plain, has = [_plain(name) for name in names], some(names, 8)
    found = []
    for k, known in enumerate((INDIVIDUAL, SIRE, DAM)):
        if given is None:
            at = [j for j, name in enumerate(plain) if name in known]
        else:
            at = [j for j, name in enumerate(names) if str(name).strip() == given[k]]
        if len(at) > 1:
            raise InputError(
                f"{source}: the columns {some((names[j] for j in at), 8)} could all be the "
                f"{known[0]}: give columns=(individual, sire, dam)."
            )
        if not at:
            asked = f"{known[0]} ({', '.join(known[1:4])}, ...)" if given is None else given[k]
            raise InputError(
                f"{source}: no column is called {asked}, there are {has}: name the columns in "
                "the first line, or give columns=(individual, sire, dam)."
            )
        found.append(at[0])
    if len(set(found)) < 3:
        raise InputError(f"columns={given!r} must be three different names.")
    return found[0], found[1], found[2]


def _parents(column: pd.Series, unknown: Collection[str]) -> pd.Index:
    """Names of one parent, "" if unknown."""
    codes, cells = pd.factorize(column.astype(object), use_na_sentinel=False)
    names = name_texts(cells, unknown)
    return pd.Index(["" if name in unknown else name for name in names], dtype=str)[codes]


def _refuse_groups(
    columns: Mapping[str, pd.Index], source: str, place: str, where: Sequence[int]
) -> None:
    for what, column in columns.items():
        groups = [name for name in column.unique() if GROUP.fullmatch(name)]
        if groups:
            row = int(np.argmax(column == groups[0]))
            raise InputError(
                f"{source}: the {what} {groups[0]!r} in {place} {where[row]} looks like a genetic "
                "group or metafounder, which is not supported: write 0 for an unknown parent, or "
                "another name if it is an individual."
            )


def _refuse_both(
    sires: pd.Index, dams: pd.Index, source: str, place: str, where: Sequence[int]
) -> None:
    both = sires.unique().intersection(dams.unique(), sort=False).drop("", errors="ignore")
    if len(both):
        as_sire, as_dam = (where[int(np.argmax(column == both[0]))] for column in (sires, dams))
        raise InputError(
            f"{source}: {both[0]!r} is a sire in {place} {as_sire} and a dam in {place} {as_dam}: "
            "correct one of them, or give monoecious=True if individuals can be both (plants)."
        )


def _linked(
    ids: pd.Index, sires: pd.Index, dams: pd.Index, unused: pd.Index, source: str
) -> Pedigree:
    """Pedigree of names in any order; parents without a row become founders."""
    parents = sires.append(dams).unique()
    added = parents[~parents.isin(ids) & (parents != "")]
    everybody = added.append(ids)
    nobody = np.full(len(added), -1)
    sire, dam = (
        np.concatenate([nobody, everybody.get_indexer(column)]) for column in (sires, dams)
    )
    report = PedigreeReport(len(ids), added, unused)
    return Pedigree.sorted(everybody, sire, dam, source, report)

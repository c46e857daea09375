"""A simulated population with the truth behind it, and its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nnmm_pymc.errors import InputError

DATA_FILES = ("genotypes", "omics", "phenotypes")


@dataclass(frozen=True, eq=False, repr=False)
class Simulation:
    """A simulated population and the truth behind it; made by `simulate`.

    Attributes
    ----------
    genotypes
        Dosages 0, 1, 2 (individual x marker), int8.
    omics, omics_complete
        Omics (individual x omic) as an analyst would see them, NaN where missing, and in full.
    phenotypes
        Traits (individual x trait), NaN where missing; a last column `family` if families were
        asked for.
    marker_effects, direct_effects, weights
        a (marker x omic), d (marker x trait) and w (omic x trait); 0 where there is no effect.
    omic_means, intercepts
        mu (omic) and b (trait).
    omic_residual_variance, residual_variance
        Variances of e (omic) and eps (trait).
    omic_genetic_values
        sum_j (x_ij - xbar_j) a_jk (individual x omic), without the mean.
    breeding_values
        Expected genetic merit (individual x trait): b + sum_k w_k E_e[g(mu_k + genetic value + e)]
        + direct effects. It is what a prediction from genotypes alone can reach at best.
    map
        chromosome and position in base pairs (marker).
    connections
        Omic name to the names of the markers that may act on it; None if every marker may.
    activation
        Name of g.
    """

    genotypes: pd.DataFrame
    omics: pd.DataFrame
    omics_complete: pd.DataFrame
    phenotypes: pd.DataFrame
    marker_effects: pd.DataFrame
    direct_effects: pd.DataFrame
    weights: pd.DataFrame
    omic_means: pd.Series
    intercepts: pd.Series
    omic_residual_variance: pd.Series
    residual_variance: pd.Series
    omic_genetic_values: pd.DataFrame
    breeding_values: pd.DataFrame
    map: pd.DataFrame
    connections: dict[str, list[str]] | None
    activation: str

    def __repr__(self) -> str:
        n, p = self.genotypes.shape
        n_omics, n_traits = self.weights.shape
        return (
            f"Simulation({n} individuals, {p} markers, {n_omics} omics ({self.activation}), "
            f"{n_traits} trait{'s' if n_traits > 1 else ''}, "
            f"{self.omics.isna().to_numpy().mean():.0%} of omic cells missing)"
        )

    def to_csv(self, folder: str | Path) -> None:
        """Write genotypes.csv, omics.csv, phenotypes.csv and one truth_*.csv per piece of truth.

        Parameters
        ----------
        folder
            Made if absent; files of these names in it are replaced. The first column of every
            file is `ID` (individual, marker, omic or trait); missing values are `NA`.

        Raises
        ------
        InputError
            If the folder cannot be made.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"Folder {folder} cannot be made ({error.strerror}); name another folder."
            ) from error
        for name, table in vars(self).items():
            if isinstance(table, pd.Series):
                table = table.to_frame(name)
            if isinstance(table, pd.DataFrame):
                stem = name if name in DATA_FILES else f"truth_{name}"
                table.to_csv(folder / f"{stem}.csv", index_label="ID", na_rep="NA")

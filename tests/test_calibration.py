"""Ranks of the truth among draws of its posterior; others: `benchmarks/calibration.py`."""

import pytest
from faults_gibbs import GIBBS_FAULTS
from replicates import Replicates, inside_band


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("prior", "kind", "groups"),
    [
        ("BayesC", "plain", {"pheno_geno", "pheno_geno included", "pheno_residual_variance"}),
        ("GBLUP", "plain", {"pheno_geno_genetic_variance", "pheno_geno_value"}),
        ("MarkerGroups", "plain", {"pheno_geno_a_inclusion", "pheno_geno_b_slab_variance"}),
        ("RRBLUP", "binary", {"pheno_geno", "pheno_liability"}),
    ],
)
def test_ranks_of_the_truth_are_uniform(prior, kind, groups):
    ranks = Replicates(prior, kind, seed=1).fit()
    assert groups < set(ranks)
    assert [name for name, own in ranks.items() if not inside_band(own)] == []


@pytest.mark.statistical
def test_ranks_show_a_fault():
    (fault,) = (f for f in GIBBS_FAULTS if f.name == "scale of an inverse gamma doubled")
    with fault.put_in():
        ranks = Replicates("BayesC", "plain", seed=1).fit()
    assert not inside_band(ranks["pheno_residual_variance"])

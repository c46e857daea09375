"""Ranks of the truth among draws of its posterior; others: `benchmarks/calibration.py`."""

import pytest
from faults_gibbs import GIBBS_FAULTS
from replicates import Replicates, inside_band


@pytest.mark.statistical
def test_ranks_of_the_truth_are_uniform():
    ranks = Replicates("BayesC", "plain", seed=1).fit()
    assert {"pheno_geno", "pheno_geno included", "pheno_residual_variance"} < set(ranks)
    assert [name for name, own in ranks.items() if not inside_band(own)] == []


@pytest.mark.statistical
def test_ranks_show_a_fault():
    (fault,) = (f for f in GIBBS_FAULTS if f.name == "scale of an inverse gamma doubled")
    with fault.put_in():
        ranks = Replicates("BayesC", "plain", seed=1).fit()
    assert not inside_band(ranks["pheno_residual_variance"])

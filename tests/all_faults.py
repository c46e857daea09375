"""Every deliberate fault of the tests."""

from faults_gibbs import GIBBS_FAULTS
from faults_relatives import RELATIVES_FAULTS
from faults_traits import TRAIT_FAULTS
from faults_trajectories import TRAJECTORY_FAULTS

FAULTS = [*GIBBS_FAULTS, *RELATIVES_FAULTS, *TRAIT_FAULTS, *TRAJECTORY_FAULTS]

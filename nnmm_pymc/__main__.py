"""``python -m nnmm_pymc`` is the command `nnmm`."""

from nnmm_pymc.cli import main

main()

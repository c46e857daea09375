"""Reading genotypes and tables from files, frames and arrays.

Whatever the source, `read_genotypes` gives `Genotypes` and `read_table` gives a `Table`, or they
say in one sentence which file, line and cell cannot be used. Text files are read line by line, and
hard calls become one byte each on the way, so that a wide genotype file fits in memory.
"""

from nnmm_pymc.io.connections import read_connections as read_connections
from nnmm_pymc.io.genotypes import read_genotypes as read_genotypes
from nnmm_pymc.io.relationships import read_relationship as read_relationship
from nnmm_pymc.io.tables import read_table as read_table

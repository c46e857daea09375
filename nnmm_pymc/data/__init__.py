"""What goes in: genotypes, tables of omics or phenotypes, and their alignment by ID.

`Genotypes` are marker dosages, kept as one byte a call and marker by marker, the way the samplers
read them; `Table` is everything else that is measured on individuals. Both are values: made once
(by the readers in `nnmm_pymc.io`), checked once, never changed in place. Individuals, markers and
columns are always known by name (a string), never by position, so `align` can say who has data
in which layer and nothing depends on the order of rows.
"""

from nnmm_pymc.data.alignment import Alignment as Alignment
from nnmm_pymc.data.alignment import align as align
from nnmm_pymc.data.genotypes import Genotypes as Genotypes
from nnmm_pymc.data.latent import LatentNodes as LatentNodes
from nnmm_pymc.data.latent import LatentTable as LatentTable
from nnmm_pymc.data.latent import latent as latent
from nnmm_pymc.data.quality import MISSING as MISSING
from nnmm_pymc.data.quality import GenotypeReport as GenotypeReport
from nnmm_pymc.data.quality import quality_control as quality_control
from nnmm_pymc.data.relationship import GenomicRelationship as GenomicRelationship
from nnmm_pymc.data.relationship import Relationship as Relationship
from nnmm_pymc.data.relationship import genomic_relationship as genomic_relationship
from nnmm_pymc.data.relationship import relationship as relationship
from nnmm_pymc.data.table import Table as Table

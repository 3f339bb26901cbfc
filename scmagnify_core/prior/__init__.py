"""The prior: which TF may regulate which gene.

===================  ====================================================================================
``regions``          intervals on chromosomes; chromosome names and genome builds
``annotation``       genes on the genome: GTF, GFF3, BED or a table
``genome``           sequence from a FASTA file
``motifs``           motif collections, and which TF a motif stands for
``peak_gene_links``  peaks whose accessibility follows a gene
``tf_binding``       motif hits in peaks or promoters
``base_network``     a network that somebody else made
``evidence``         candidate edges from all of these, with where each comes from
``assemble``         the candidate edges of one data set, with coverage figures
===================  ====================================================================================
"""

from scmagnify_core.prior.assemble import assemble_prior
from scmagnify_core.prior.base_network import read_base_network

__all__ = ["assemble_prior", "read_base_network"]

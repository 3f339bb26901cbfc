"""The prior: which TF may regulate which gene.

``base_network``  reads a network that somebody else made
``assemble``      turns evidence into the P x Q mask of one data set, with coverage figures

Evidence from the data set's own chromatin (``peak_gene_links``, ``tf_binding``) enters ``assemble`` the same way:
as a frame of candidate edges that says where each came from.
"""

from scmagnify_core.prior.assemble import PriorNetwork, assemble_prior
from scmagnify_core.prior.base_network import read_base_network

__all__ = ["PriorNetwork", "assemble_prior", "read_base_network"]

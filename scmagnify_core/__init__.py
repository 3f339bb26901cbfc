"""The scMagnify method on arrays and frames: no orchestration, no storage.

Contents, in the order the data flow:

==================  =====================================================================
``specification``   the TOML beside a data set: what it holds and how to run it; presets
``description``     what a data file holds: the data's part of that TOML
``references``      genome, annotation, motifs and lists of names, declared once
``dataset``         read, validate and normalise an h5ad or h5mu; ``trajectory`` computes pseudotime where asked,
                    ``fragments`` counts ATAC fragments in peaks
``association``     genes that change along pseudotime
``metacells``       groups of like cells, for what single cells are too sparse for
``prior``           candidate edges, from chromatin or imported: the P x Q mask that constrains the model
``diffusion``       directed sparse transition over cells; lagged expression
``methods``         network inference: ``granger`` (scMagnify itself), ``baselines`` on the same lags, ``controls``
``network``         the K x P x Q network; aggregation over seeds; the ranked edges
``regfactors``      Tucker decomposition into lag, TF and target loadings
``activity``        TF and RegFactor activity per cell
``communication``   ligand -> receptor -> TF; ``lagged`` holds its lagged correlation and the null of that
``exchange``        results out to other tools; networks made elsewhere in
``evaluation``      a network against a ground truth; ``leaderboard`` sets others beside it, over data sets
``plots``           tables in, figures out; ``report`` makes one page of them
``simulation``      data with a planted network, the embedded default; ``simulated_genome`` its sequence and motifs
``tables``          the columns, types and meaning of everything that is stored
``memory``          what a step may use, and the refusal of what does not fit
``statistics``      multiple testing, permutation p-values and the spline test
``errors``          the errors a user is meant to see
==================  =====================================================================

Axes are always in the order cell, lag, source, target (n, k, p, q).
"""

"""Network inference, one family per file or folder; families never import each other."""

# Every name under which this product ranks edges itself: a network made elsewhere must have another.
NAMES = (
    "scmagnify", "group_lasso", "boosted_trees", "ridge", "lagged_correlation", "correlation", "spearman", "prior",
    "shuffled_prior", "random",
)  # fmt: skip

"""What the servers that processes are forked from have imported (`executors`, `code_server`); imported by nothing else.

The graph with what it is made of, and the libraries that most steps would otherwise each import for seconds, those of
Dagster's own records among them. Nothing here opens a lake (the threads of Delta's runtime would not survive the fork)
or a connection. Not torch, which few steps need: `code_server` adds it, for its server outlives a run.
"""

import gc
from importlib import import_module

MODULES = (
    "dagster._core.definitions.antlr_asset_selection.antlr_asset_selection", "dagster._core.storage.sqlite_storage",
    "upath", "pyarrow.dataset", "mudata", "sklearn.neighbors", "scipy.interpolate",
    "scmagnify_core.numerics.group_elastic_net", "matplotlib.figure", "matplotlib.backends.backend_agg",
)  # fmt: skip

gc.disable()  # what is imported stays
for name in MODULES:
    import_module(name)
import_module("scmagnify_assets.definitions").defs.get_repository_def().get_all_jobs()
# Else every process would look through all of this for garbage, again and again, and copy each page that it is on.
gc.freeze()
gc.enable()

"""The platform around ``scmagnify_core``: the only place that knows Dagster and storage.

``home``         where everything lives on disk
``partitions``   data sets and seeds
``registry``     data sets that were added: their file, their settings
``resources``    the lake and the settings, as Dagster resources
``codecs``       core's values <-> tables and artefacts
``io_manager``   writes what an asset returns, reads what it asks for, records lineage
``assets``       the graph
``checks``       what must hold before anything downstream runs
``definitions``  composition only
``runner``       the graph without a UI, wave by wave
``lakehouse``    tables, artefacts, SQL views; ``lineage`` describes one write
``cli``          the ``scmagnify`` command
"""

import warnings

# Parts of Dagster that the design rests on are marked preview or beta; the pinned version is tested with them, and
# users cannot act on the warning. Matched by text, because importing Dagster here would slow `scmagnify --help`.
for _feature in ("Specifying a partitions_def", "Parameter `backfill_policy`", "Class `MultiToSingle"):
    warnings.filterwarnings("ignore", message=_feature)

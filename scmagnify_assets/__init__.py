"""The platform around ``scmagnify_core``: the only place that knows Dagster and storage.

In a notebook, ``from scmagnify_assets import open_lake`` is all one needs (`scmagnify_assets.doors.notebook`).

What there is

``home``         where everything lives on disk
``partitions``   data sets and seeds
``intake``       a data set before it is registered: its settings, and whether it can be used
``registry``     data sets that were added: their files (``hashes``), their settings
``lakehouse``    tables, artefacts, SQL views; ``lineage`` describes one write, ``maintenance`` keeps the lake small
``views``        the questions of the field as SQL; ``dictionary`` the meaning of every column
``lake``         the Python door: results as pandas or Arrow; ``export`` writes files for other tools
``files``        files that appear whole or not at all
``resources``    the lake and the settings, as Dagster resources
``codecs``       core's values <-> tables and artefacts
``io_manager``   writes what an asset returns, reads what it asks for, records lineage
``declare``      what all assets share; ``assets`` is the graph itself
``checks``       what must hold before anything downstream runs, and what is unusual; ``freshness``

What happens by itself

``arrivals``     data files in the incoming folder become data sets
``automation``   when an asset runs
``schedules``    nightly refresh, weekly maintenance
``failures``     what is tried again, and errors in words; ``alerts`` tells people

Where it runs

``definitions``  composition only
``executors``    where steps run (``ray_steps`` on Ray); ``processes`` what each owes the machine
``launcher``     runs as processes of one machine, and whether they live
``server``       the platform on one machine
``runner``       the graph without a UI, wave by wave
``cli``          the ``scmagnify`` command; ``terminal`` and ``rows`` print for ``scmagnify sql``
"""

import warnings

from scmagnify_assets.doors.notebook import open_lake

__all__ = ["open_lake"]

# Parts of Dagster that the design rests on are marked preview or beta; the pinned version is tested with them, and
# users cannot act on the warning. Matched by text, because importing Dagster here would slow `scmagnify --help`.
for _feature in (
    "Specifying a partitions_def",
    "Parameter `backfill_policy",
    "Parameter `use_user_code_server",
    "Parameter `owners",
    "Non-built-in PartitionMappings",
):
    warnings.filterwarnings("ignore", message=_feature)

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

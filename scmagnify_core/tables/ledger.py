"""Tables of the lake itself: who made which row from what, at which version, and what was removed. Append only."""

import pyarrow as pa

from scmagnify_core.tables.schema import DATASET, FLOAT64, INT16, INT32, INT64, MADE_BY, TEXT, TIME, Column, Table

# fmt: off
TABLES = (
    Table(
        "lineage", "lakehouse", "Who made which rows, from what, with which code. Append only.",
        (
            MADE_BY,
            Column("run_id", TEXT, "Dagster run, 'none' outside one", example="1dcdae05-f872-4d35-a7a2-0f8f87a92033"),
            Column("asset", TEXT, "asset that was materialized", example="multiscale_network"),
            DATASET,
            Column("seed", INT16, "seed, for assets that have one", nullable=True, example="0"),
            Column("code_version", TEXT, "package version and hash of its source", example="0.1.0+e5cbd4ec3ed0"),
            Column("data_version", TEXT, "hash of the content that was written", example="183bd8b47956..."),
            Column("file_sha256", TEXT, "hash of the data file at the root", example="d5c6f05d1198..."),
            Column("seeds", pa.list_(INT16), "seeds that entered", nullable=True, example="[0, 1, 2]"),
            Column("inputs", TEXT, "inputs as JSON: asset, dataset, seed, materialization_id, data_version",
                   example='[{"asset": "dataset", "data_versi...'),
            Column("parameters", TEXT, "parameters as JSON", example='{"name": "demo", "network": {"den...'),
            Column("packages", TEXT, "versions of Python and packages as JSON",
                   example='{"anndata": "0.12.19", "dagster":...'),
            Column("tables", TEXT, "tables and their row counts as JSON",
                   example='{"edges": 3286, "multiscale_netwo...'),
            Column("created_at", TIME, "when the write began", example="2026-11-26 14:39:53+00"),
            Column("runtime_s", FLOAT64, "time that its step took; of several seeds in one step an equal share", "s",
                   nullable=True, is_measured=True, example="3.214"),
            Column("peak_memory_mib", FLOAT64, "largest memory of the step's process", "MiB", nullable=True,
                   is_measured=True, example="731.2"),
        ),
        key=("materialization_id",), partition_by=(), mode="append",
    ),
    Table(
        "artifacts", "lakehouse", "Files that hold what tables do not: weights, operators, h5ad. Append only.",
        (
            MADE_BY,
            Column("asset", TEXT, "asset that was materialized", example="scmagnify_model"),
            DATASET,
            Column("seed", INT16, "seed, for assets that have one", nullable=True, example="2"),
            Column("name", TEXT, "name of the file within its asset", example="seed_0.safetensors"),
            Column("sha256", TEXT, "hash of the content; also its address", example="2fb92a7159ab..."),
            Column("size_bytes", INT64, "size", "bytes", example="66688"),
            Column("path", TEXT, "path below the lake's folder", example="objects/2f/2fb92a7159ab72dc453312..."),
            Column("created_at", TIME, "when the write began", example="2026-11-26 14:39:42+00"),
        ),
        key=("materialization_id", "name"), partition_by=(), mode="append",
    ),
    Table(
        "table_versions", "lakehouse", "Which Delta version of a table each materialization committed. Append only.",
        (
            MADE_BY,
            Column("table_name", TEXT, "table that was written", example="edges"),
            Column("version", INT64, "Delta version, for time travel", example="1"),
            Column("n_rows", INT64, "rows in the partition", "rows", example="3286"),
            Column("committed_at", TIME, "when the commit succeeded", example="2026-11-26 14:39:53+00"),
        ),
        key=("materialization_id", "table_name"), partition_by=(), mode="append",
    ),
    Table(
        "maintenance", "lakehouse", "What maintenance removed from the lake, one row per run. Append only.",
        (
            Column("maintained_at", TIME, "when it ran", example="2026-11-22 04:00:03+00"),
            Column("keep_days", INT32, "former versions are kept at least so long after they were superseded", "days",
                   example="90"),
            Column("horizon", TIME, "what was superseded until then is removed; null: nothing was so old",
                   nullable=True, example="2026-08-24 04:00:03+00"),
            Column("horizon_version", INT64, "the horizon as a version of `lineage`, which no clock moves; -1: none",
                   example="1204"),
            Column("n_materializations_removed", INT64, "former materializations that this run put out of reach",
                   example="31"),
            Column("n_files_removed", INT64, "data files of tables that it set out to delete", "files", example="74"),
            Column("n_objects_removed", INT64, "artefacts that it set out to delete", "files", example="12"),
            Column("n_remains_removed", INT64, "remains of killed writers that it set out to delete", "files",
                   example="0"),
            Column("bytes_freed", INT64, "size of all those files", "bytes", example="48203311"),
            Column("n_files_merged", INT64, "files of the append-only tables that were merged", "files",
                   example="57"),
        ),
        key=("maintained_at",), partition_by=(), mode="append",
    ),
)

"""The questions of the field, as ready-made views and functions of the lake: SQL text, declared once.

The lakehouse puts them into ``lake.duckdb`` beside the views of its tables, the data dictionary lists them with their
columns, and the cookbook asks them. A *view* has no parameters and is filtered (``WHERE dataset = 'blood'``); a
*function* takes what the question is about: ``FROM top_regulators('blood', 'Klf1', n := 5)``.

Decisions:

- Every statement keeps ``dataset`` visible to the engine as a constant or a grouping column, so that files of other
  data sets are not opened: Delta partitions by it, and a window is always partitioned by it. ``IN`` opens all files.
- Scores of two data sets are not on one scale. What compares data sets compares ``percentile``: the share of a
  network's candidate edges that rank no better.
- A former version is read by building the text of its scan (``query``), since DuckDB takes the version of
  ``delta_scan`` as a constant only.

What does not live here: what a column of a table means (`scmagnify_core.tables`), and making the views (`lakehouse`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scmagnify_core.tables.catalogue import TABLES
from scmagnify_core.tables.schema import FLAG, FLOAT32, FLOAT64, INT32, INT64, TEXT, Column


@dataclass(frozen=True)
class View:
    """One view or, with ``parameters``, one function: its SQL, what a row is, and its columns in order.

    ``sql`` may name ``{scan}``, which becomes the text of a scan of the table ``edges`` at a version.
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]
    sql: str
    parameters: tuple[str, ...] = ()
    example: str = ""

    @property
    def call(self) -> str:
        """How it is written behind FROM."""
        return f"{self.name}({', '.join(self.parameters)})" if self.parameters else self.name

    @property
    def defaults(self) -> dict[str, int]:
        """Parameters that may be left out, and what they are then."""
        split = (one.partition(" := ") for one in self.parameters)
        return {name: int(value) for name, separator, value in split if separator}


def _of(table: str, *names: str, **renamed: str) -> tuple[Column, ...]:
    """Columns of a table as they are, then some under another name (new=old)."""
    declared = {column.name: column for column in TABLES[table].columns}
    kept = [declared[name] for name in names]
    return (*kept, *(_named(declared[old], new) for new, old in renamed.items()))


def _named(column: Column, name: str, meaning: str | None = None) -> Column:
    return Column(name, column.dtype, meaning or column.meaning, column.unit, column.nullable, example=column.example)


PERCENTILE = "share of the network's candidate edges that rank no better; 1 is the strongest"
EDGE = ("source", "target", "score", "signed_score", "lag", "stability", "pvalue", "padj", "rank")
_MATERIALIZATION = TABLES["edges"].columns[-1]
_FILE = _of("datasets", "file")[0]
_MOTIF_COLUMNS = (
    *_of("peak_gene_links", "peak", "kind"),
    *_of("peaks", "chrom", peak_start="start", peak_end="end"),
    *_of("peak_gene_links", "distance_bp", "correlation", "zscore", link_pvalue="pvalue", link_padj="padj"),
    *_of("motifs", "motif", "motif_name"),
    *_of("tf_binding", motif_start="start", motif_end="end"),
    *_of("tf_binding", "strand", motif_score="score", motif_pvalue="pvalue"),
)

# FROM order matters: DuckDB fixes each table's snapshot in this order, and lineage is written before edges,
# so whatever edges are seen, their lineage is seen too.
_PROVENANCE = """
SELECT e.dataset, e.source, e.target, e.score, l.seeds, f.file, l.file_sha256,
       d.sha256 = l.file_sha256 AS is_file_current, l.code_version, l.run_id, e.materialization_id, l.created_at
FROM edges e LEFT JOIN lineage l USING (materialization_id) LEFT JOIN datasets d ON d.dataset = e.dataset
LEFT JOIN (SELECT l.dataset, l.file_sha256, max_by(l.parameters ->> '$.file', v.version) AS file
           FROM lineage l JOIN table_versions v USING (materialization_id)
           WHERE l.asset = 'raw_dataset' AND v.table_name = 'lineage' GROUP BY ALL) f
    ON f.dataset = e.dataset AND f.file_sha256 = l.file_sha256"""
# `Lakehouse.superseded` in SQL: maintenance removes what was superseded up to its horizon.
_TIME_TRAVEL = """
SELECT l.dataset, l.seed, l.asset, v.table_name, v.version, v.materialization_id, v.committed_at, v.n_rows,
       coalesce(s.successor > (SELECT max(horizon_version) FROM maintenance), true) AS is_readable
FROM table_versions v LEFT JOIN lineage l USING (materialization_id)
LEFT JOIN (SELECT materialization_id, lead(w.version) OVER (PARTITION BY asset, dataset, seed ORDER BY w.version)
                  AS successor
           FROM table_versions w JOIN lineage USING (materialization_id) WHERE w.table_name = 'lineage') s
    USING (materialization_id)
WHERE v.table_name NOT IN ('lineage', 'artifacts')"""
# One row per motif hit in a linked region, for each gene it is linked to and each TF of the motif.
_MOTIF_HITS = """(
    SELECT l.dataset, l.target, o.source, l.peak, l.kind, k.chrom, k.start AS peak_start, k.end AS peak_end,
           l.distance_bp, l.correlation, l.zscore, l.pvalue AS link_pvalue, l.padj AS link_padj,
           h.motif, o.motif_name, h.start AS motif_start, h.end AS motif_end, h.strand, h.score AS motif_score,
           h.pvalue AS motif_pvalue
    FROM peak_gene_links l
    JOIN peaks k USING (dataset, peak)
    JOIN tf_binding h USING (dataset, peak)
    JOIN motifs o USING (dataset, motif)
    WHERE l.is_linked
)"""
# Edges without motif evidence appear once, with nothing beside them.
_EVIDENCE = f"""
SELECT e.dataset, e.source, e.target, e.score, e.signed_score, e.lag, p.evidence, p.origin,
       m.peak, m.kind, m.chrom, m.peak_start, m.peak_end, m.distance_bp, m.correlation, m.zscore,
       m.link_pvalue, m.link_padj, m.motif, m.motif_name, m.motif_start, m.motif_end, m.strand, m.motif_score,
       m.motif_pvalue, e.materialization_id
FROM edges e
JOIN prior_network p USING (dataset, source, target)
LEFT JOIN {_MOTIF_HITS} m USING (dataset, source, target)"""


_PERCENTILES = "SELECT source, target, signed_score, 1 - (rank - 1) / count(*) OVER () AS percentile"


def _some(rows: str, found: str) -> str:
    """A condition that holds, or an error where there are no ``rows``: a misspelt name must not look like a result."""
    return f"(SELECT CASE WHEN count(*) = 0 THEN error({found}) END FROM {rows}) IS NULL"


def _trend(table: str, name: str) -> str:
    return f"SELECT cell, activity FROM {table} WHERE dataset = in_dataset AND {name} = of_name"


_VIEWS = (
    View(
        "dataset_summary", "Each data set: its size, and what there is of it.",
        (
            *_of("datasets", "dataset", "species"),
            Column("n_cells", INT64, "cells that entered the analysis", "cells", nullable=True, example="2730"),
            Column("n_sources", INT64, "TFs with a candidate edge", "TFs", nullable=True, example="121"),
            Column("n_targets", INT64, "genes with a candidate edge", "genes", nullable=True, example="1204"),
            Column("n_edges", INT64, "candidate edges", "edges", nullable=True, example="9874"),
            Column("n_selected", INT64, "edges that pass the network's threshold", "edges", nullable=True,
                   example="987"),
            Column("n_seeds", INT32, "seeds that were aggregated", "seeds", nullable=True, example="3"),
            *_of("datasets", "registered_at", "sha256", "file"),
        ),
        """
SELECT d.dataset, d.species, c.n_cells, e.n_sources, e.n_targets, e.n_edges, e.n_selected, e.n_seeds,
       d.registered_at, d.sha256, d.file
FROM datasets d
LEFT JOIN (SELECT dataset, count(*) AS n_cells FROM cells GROUP BY dataset) c USING (dataset)
LEFT JOIN (SELECT dataset, count(DISTINCT source) AS n_sources, count(DISTINCT target) AS n_targets,
                  count(*) AS n_edges, count(*) FILTER (is_selected) AS n_selected, max(n_seeds)::INTEGER AS n_seeds
           FROM edges GROUP BY dataset) e USING (dataset)""",
        example="FROM dataset_summary ORDER BY dataset",
    ),
    View(
        "baseline_networks", "Edges of baselines and controls, for data sets with a ground truth.",
        _of("networks", "dataset", "method", "source", "target", "score", "signed_score", "lag", "rank", "runtime_s",
            "peak_memory_mib", "materialization_id"),
        """
SELECT dataset, method, source, target, score, signed_score, lag, rank, runtime_s, peak_memory_mib, materialization_id
FROM networks WHERE asset = 'baseline_networks'""",
        example="FROM baseline_networks WHERE dataset = 'demo' AND method = 'ridge' ORDER BY rank LIMIT 10",
    ),
    View(
        "top_regulators", "The TFs that regulate a gene most, strongest first.",
        _of("edges", "source", *EDGE[2:]),
        """
SELECT source, score, signed_score, lag, stability, pvalue, padj, rank FROM edges
WHERE dataset = in_dataset AND target = of_target ORDER BY rank LIMIT n""",
        ("in_dataset", "of_target", "n := 10"),
        "FROM top_regulators('demo', 'G013')",
    ),
    View(
        "top_targets", "The genes that a TF regulates most, strongest first.",
        _of("edges", "target", *EDGE[2:]),
        """
SELECT target, score, signed_score, lag, stability, pvalue, padj, rank FROM edges
WHERE dataset = in_dataset AND source = of_source ORDER BY rank LIMIT n""",
        ("in_dataset", "of_source", "n := 10"),
        "FROM top_targets('demo', 'TF12')",
    ),
    View(
        "stable_edges", "Edges among the top edges of every seed, with the same sign in all; of two seeds or more.",
        _of("edges", "dataset", *EDGE[:5], "n_seeds", "score_sd", *EDGE[6:]),
        """
SELECT dataset, source, target, score, signed_score, lag, n_seeds, score_sd, pvalue, padj, rank FROM edges
WHERE n_seeds > 1 AND stability = 1 AND sign_agreement = 1""",
        example="FROM stable_edges WHERE dataset = 'demo' ORDER BY rank LIMIT 10",
    ),
    View(
        "regulators", "Each TF as a regulator: its targets, their signs and lags, its total effect.",
        (
            *_of("edges", "dataset", "source"),
            Column("n_candidates", INT64, "candidate targets", "genes", example="61"),
            Column("n_targets", INT64, "targets that the model keeps", "genes", example="27"),
            Column("n_selected", INT64, "targets that pass the network's threshold", "genes", example="9"),
            Column("total_score", FLOAT64, "sum of the scores of the targets it keeps", nullable=True, example="3.21"),
            Column("share_activating", FLOAT64, "share of those that it activates", nullable=True, example="0.63"),
            Column("mean_lag", FLOAT64, "mean lag, weighted by score", "lags", nullable=True, example="2.4"),
        ),
        """
SELECT dataset, source, count(*) AS n_candidates, count(*) FILTER (has_weight) AS n_targets,
       count(*) FILTER (is_selected) AS n_selected, sum(score::DOUBLE) FILTER (has_weight) AS total_score,
       avg((signed_score > 0)::INTEGER::DOUBLE) FILTER (has_weight) AS share_activating,
       sum(lag::DOUBLE * score) FILTER (has_weight) / nullif(sum(score::DOUBLE) FILTER (has_weight), 0) AS mean_lag
FROM edges GROUP BY dataset, source""",
        example="FROM regulators WHERE dataset = 'demo' ORDER BY total_score DESC LIMIT 10",
    ),
    View(
        "edge_differences",
        "Two networks against each other: edges of one or both, most different first. "
        "For two lineages, register the data set once for each (`lineages` in its TOML).",
        (
            *_of("edges", "source", "target"),
            Column("difference", FLOAT64, "percentile_a - percentile_b; null where one has no such candidate",
                   nullable=True, example="-0.71"),
            Column("percentile_a", FLOAT64, PERCENTILE, nullable=True, example="0.24"),
            Column("percentile_b", FLOAT64, PERCENTILE, nullable=True, example="0.95"),
            Column("signed_score_a", FLOAT32, "total effect over lags in the first", nullable=True, example="0.02"),
            Column("signed_score_b", FLOAT32, "total effect over lags in the second", nullable=True, example="0.31"),
            Column("has_same_sign", FLAG, "both activate or both repress", nullable=True, example="true"),
        ),
        f"""
WITH a AS MATERIALIZED ({_PERCENTILES} FROM edges WHERE dataset = dataset_a),
     b AS MATERIALIZED ({_PERCENTILES} FROM edges WHERE dataset = dataset_b)
SELECT source, target, a.percentile - b.percentile AS difference, a.percentile AS percentile_a,
       b.percentile AS percentile_b, a.signed_score AS signed_score_a, b.signed_score AS signed_score_b,
       sign(a.signed_score) = sign(b.signed_score) AS has_same_sign
FROM a FULL JOIN b USING (source, target)
WHERE {_some("a", "'There is no network of ' || dataset_a")} AND {_some("b", "'There is no network of ' || dataset_b")}
ORDER BY abs(difference) DESC NULLS LAST, source, target""",
        ("dataset_a", "dataset_b"),
        "FROM edge_differences('demo', 'demo2') LIMIT 10",
    ),
    View(
        "consensus_edges", "Each edge over all data sets that have it as a candidate.",
        (
            *_of("edges", "source", "target"),
            Column("n_datasets", INT64, "data sets with this candidate edge", "data sets", example="7"),
            Column("n_selected", INT64, "of these, where it passes the threshold", "data sets", example="5"),
            Column("n_activating", INT64, "of these, where it activates", "data sets", example="7"),
            Column("mean_percentile", FLOAT64, "mean " + PERCENTILE, example="0.94"),
        ),
        """
SELECT source, target, count(*) AS n_datasets, count(*) FILTER (is_selected) AS n_selected,
       count(*) FILTER (signed_score > 0) AS n_activating,
       avg(1 - (rank - 1) / n_edges) AS mean_percentile
FROM edges JOIN (SELECT dataset, count(*) AS n_edges FROM edges GROUP BY dataset) USING (dataset)
GROUP BY source, target""",
        example="FROM consensus_edges WHERE n_datasets > 1 ORDER BY mean_percentile DESC LIMIT 10",
    ),
    View(
        "regfactor_members", "TFs, genes and lags of each RegFactor, by the size of their loadings.",
        (
            *_of("regfactor_loadings", "dataset", "regfactor", "mode", "name", "loading"),
            Column("position", INT64, "place by absolute loading within RegFactor and mode, from 1", example="1"),
            *_of("regfactors", "energy_share", "peak_lag"),
        ),
        """
SELECT l.dataset, l.regfactor, l.mode, l.name, l.loading,
       row_number() OVER (PARTITION BY l.dataset, l.regfactor, l.mode ORDER BY abs(l.loading) DESC, l.name)
           AS position,
       f.energy_share, f.peak_lag
FROM regfactor_loadings l JOIN regfactors f USING (dataset, regfactor)""",
        example="FROM regfactor_members WHERE dataset = 'demo' AND regfactor = 'RF1' AND position <= 5 "
                "ORDER BY mode, position",
    ),
    View(
        "activity_trend", "Activity of a TF or a RegFactor along pseudotime, in bins of equally many cells.",
        (
            Column("bin", INT64, "bin, counted from 1", example="3"),
            _named(_of("cells", "pseudotime")[0], "pseudotime", "mean position of its cells along the trajectory"),
            Column("n_cells", INT64, "cells of the bin", "cells", example="50"),
            Column("activity", FLOAT64, "mean activity (t-statistic)", example="1.9"),
            Column("activity_se", FLOAT64, "standard error of that mean", nullable=True, example="0.21"),
        ),
        f"""
SELECT bin, avg(pseudotime) AS pseudotime, count(*) AS n_cells, avg(activity::DOUBLE) AS activity,
       stddev_samp(activity::DOUBLE) / sqrt(count(*)) AS activity_se
FROM (SELECT cell, pseudotime, ntile(bins) OVER (ORDER BY pseudotime, cell) AS bin FROM cells
      WHERE dataset = in_dataset)
JOIN ({_trend("tf_activity", "source")} UNION ALL {_trend("regfactor_activity", "regfactor")}) USING (cell)
GROUP BY bin ORDER BY bin""",
        ("in_dataset", "of_name", "bins := 20"),
        "FROM activity_trend('demo', 'TF12', bins := 10)",
    ),
    View(
        "cascades", "Signal to gene: ligand -> receptor -> TF -> each target that the model keeps.",
        (
            *_of("communication_scores", "dataset", "sender", "receiver", "ligand", "receptor", "tf"),
            *_of("edges", "target"),
            *_of("communication_scores", cascade_score="score", cascade_padj="padj", receptor_lag="lag"),
            *_of("communication_scores", "receptor_tf_association"),
            *_of("edges", "score", "signed_score", "lag"),
        ),
        """
SELECT c.dataset, c.sender, c.receiver, c.ligand, c.receptor, c.tf, e.target, c.score AS cascade_score,
       c.padj AS cascade_padj, c.lag AS receptor_lag, c.receptor_tf_association, e.score, e.signed_score, e.lag
FROM communication_scores c JOIN edges e ON e.dataset = c.dataset AND e.source = c.tf
WHERE e.has_weight""",
        example="FROM cascades WHERE dataset = 'demo' ORDER BY cascade_padj, cascade_score DESC, score DESC LIMIT 10",
    ),
    View(
        "edge_evidence", "Each edge with the linked peaks and motif hits that support it.",
        (
            *_of("edges", "dataset", *EDGE[:5]), *_of("prior_network", "evidence", "origin"),
            *(Column(c.name, c.dtype, c.meaning, c.unit, nullable=True, example=c.example) for c in _MOTIF_COLUMNS),
            _MATERIALIZATION,
        ),
        _EVIDENCE,
        example="FROM edge_evidence WHERE dataset = 'demo' AND target = 'G013' ORDER BY score DESC, motif_pvalue",
    ),
    View(
        "edge_provenance", "Each edge with the seeds, file and code that made it.",
        (
            *_of("edges", "dataset", "source", "target", "score"),
            *_of("lineage", "seeds"),
            Column(_FILE.name, _FILE.dtype, _FILE.meaning, nullable=True, example=_FILE.example),
            *_of("lineage", "file_sha256"),
            Column("is_file_current", FLAG, "that content is what is registered now", nullable=True, example="true"),
            *_of("lineage", "code_version", "run_id"), _MATERIALIZATION, *_of("lineage", "created_at"),
        ),
        _PROVENANCE,
        example="FROM edge_provenance WHERE dataset = 'demo' ORDER BY score DESC LIMIT 1",
    ),
    View(
        "edge_story", "One edge down to its roots: seeds, file, code and run; peaks and motif hits.",
        (
            *_of("edges", "source", "target", "score"), *_of("lineage", "seeds"),
            Column(_FILE.name, _FILE.dtype, _FILE.meaning, nullable=True, example=_FILE.example),
            *_of("lineage", "file_sha256", "code_version", "run_id", "created_at"),
            *_of("prior_network", "evidence", "origin"),
            *(Column(c.name, c.dtype, c.meaning, c.unit, nullable=True, example=c.example) for c in _MOTIF_COLUMNS
              if c.name in ("peak", "distance_bp", "correlation", "motif", "motif_name", "motif_start", "strand",
                            "motif_pvalue")),
        ),
        f"""
SELECT r.source, r.target, r.score, r.seeds, r.file, r.file_sha256, r.code_version, r.run_id, r.created_at,
       p.evidence, p.origin, m.peak, m.distance_bp, m.correlation, m.motif, m.motif_name, m.motif_start, m.strand,
       m.motif_pvalue
FROM ({_PROVENANCE} WHERE e.dataset = in_dataset AND e.source = of_source AND e.target = of_target) r
JOIN (FROM prior_network WHERE dataset = in_dataset AND source = of_source AND target = of_target) p
    USING (source, target)
LEFT JOIN (FROM {_MOTIF_HITS} WHERE dataset = in_dataset AND source = of_source AND target = of_target) m
    USING (source, target)
ORDER BY m.motif_pvalue""",
        ("in_dataset", "of_source", "of_target"),
        "FROM edge_story('demo', 'TF12', 'G013')",
    ),
    View(
        "time_travel", "Former states of the tables, with their versions, and whether they can still be read.",
        (
            *(Column(c.name, c.dtype, c.meaning, c.unit, nullable=True, example=c.example)
              for c in _of("lineage", "dataset", "seed", "asset")),
            *_of("table_versions", "table_name", "version", "materialization_id", "committed_at", "n_rows"),
            Column("is_readable", FLAG, "maintenance has not removed it", example="true"),
        ),
        _TIME_TRAVEL,
        example="FROM time_travel WHERE dataset = 'demo' AND table_name = 'edges' ORDER BY version",
    ),
    View(
        "edges_at", "The table edges as of a version; `time_travel` lists them.",
        TABLES["edges"].columns,
        "FROM query({scan})",
        ("at_version",),
        "FROM edges_at(2) WHERE dataset = 'demo' ORDER BY rank LIMIT 10",
    ),
    View(
        "edge_changes", "What has changed in a network since a version of the table edges, largest change first.",
        (
            *_of("edges", "source", "target"),
            Column("change", TEXT, "new, gone or kept (as a candidate)", example="kept"),
            Column("percentile_then", FLOAT64, PERCENTILE, nullable=True, example="0.35"),
            Column("percentile_now", FLOAT64, PERCENTILE, nullable=True, example="0.81"),
            Column("signed_score_then", FLOAT32, "total effect over lags then", nullable=True, example="0.04"),
            Column("signed_score_now", FLOAT32, "total effect over lags now", nullable=True, example="0.22"),
        ),
        f"""
WITH a AS MATERIALIZED ({_PERCENTILES} FROM query({{scan}}) WHERE dataset = in_dataset),
     b AS MATERIALIZED ({_PERCENTILES} FROM edges WHERE dataset = in_dataset)
SELECT source, target,
       CASE WHEN a.source IS NULL THEN 'new' WHEN b.source IS NULL THEN 'gone' ELSE 'kept' END AS change,
       a.percentile AS percentile_then, b.percentile AS percentile_now, a.signed_score AS signed_score_then,
       b.signed_score AS signed_score_now
FROM a FULL JOIN b USING (source, target)
WHERE {_some("a", "'At that version there is no network of ' || in_dataset")}
ORDER BY abs(coalesce(percentile_then, 0) - coalesce(percentile_now, 0)) DESC, source, target""",
        ("in_dataset", "at_version"),
        "FROM edge_changes('demo', 2) LIMIT 10",
    ),
)  # fmt: skip

VIEWS: Mapping[str, View] = {view.name: view for view in _VIEWS}


def statements(quote: Callable[[str], str], edges: str, *, comments: bool = True) -> list[str]:
    """Statements that make the views and functions over views of all tables; ``edges`` is the folder of that table."""
    scan = f"{quote(f'FROM delta_scan({quote(edges)}, version := ')} || at_version::UBIGINT || ')'"
    made = []
    for view in VIEWS.values():
        sql = view.sql.strip().replace("{scan}", scan)
        if view.parameters:
            made.append(f"CREATE MACRO {view.call} AS TABLE {sql}")
            about = [f"COMMENT ON MACRO TABLE {view.name} IS {quote(view.meaning)}"]
        else:
            made.append(f"CREATE VIEW {view.name} AS {sql}")
            about = [f"COMMENT ON VIEW {view.name} IS {quote(view.meaning)}"]
            about += [column_comment(view.name, column, quote) for column in view.columns]
        made += about if comments else []
    return made


def column_comment(name: str, column: Column, quote: Callable[[str], str]) -> str:
    """The statement that gives a column of a view its meaning and unit."""
    meaning = column.meaning + (f" [{column.unit}]" if column.unit else "")
    return f'COMMENT ON COLUMN {name}."{column.name}" IS {quote(meaning)}'

"""Every persisted table, declared once: columns, types, key, units and meaning.

The lakehouse creates and checks its tables from these declarations, the SQL views expose them, and the
data dictionary is printed from them. A frame that does not match its declaration never reaches storage.

Three columns are *stamped* by the lakehouse and never produced by the method: ``dataset``, ``seed`` (only
where a table has one row set per seed) and ``materialization_id``, the key into ``lineage``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from scmagnify_core.errors import SchemaError

STAMPED = ("dataset", "seed", "materialization_id")

TEXT, FLAG = pa.string(), pa.bool_()
INT16, INT32, INT64 = pa.int16(), pa.int32(), pa.int64()
FLOAT32, FLOAT64 = pa.float32(), pa.float64()
TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, what it means and, where it has one, its unit.

    ``is_measured`` values, such as seconds, differ between equal runs: they are no part of what the content is.
    ``example`` is a value as a query prints it, for the data dictionary.
    """

    name: str
    dtype: pa.DataType
    meaning: str
    unit: str | None = None
    nullable: bool = False
    is_measured: bool = False
    example: str = ""

    @property
    def field(self) -> pa.Field:
        """The column as an Arrow field."""
        return pa.field(self.name, self.dtype, nullable=self.nullable)


@dataclass(frozen=True)
class Table:
    """One persisted table.

    ``asset`` is the asset that writes it. ``key`` identifies a row within a partition; ``sort`` is the order
    of rows on disk, chosen so that the commonest filter skips row groups.
    """

    name: str
    asset: str
    meaning: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition_by: tuple[str, ...] = ("dataset",)
    mode: Literal["replace", "append"] = "replace"

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the stored table, stamped columns included."""
        return pa.schema([column.field for column in self.columns])

    @property
    def body(self) -> tuple[Column, ...]:
        """The columns the method produces, in order: all but the stamped ones."""
        if self.mode == "append":
            return self.columns
        return tuple(column for column in self.columns if column.name not in STAMPED)

    def validate(self, frame: pd.DataFrame) -> pa.Table:
        """Check a frame of body columns and return it as Arrow, rows in key order.

        Integers may widen and floats may narrow to the declared type; nothing else is converted, because a
        silent cast is how a float64 p-value of 1e-50 becomes 0.

        Raises
        ------
        SchemaError
            Missing or unknown columns, a wrong kind of type, nulls or non-finite numbers where none are
            allowed, or two rows with the same key. Every problem is listed, not only the first.
        """
        problems: list[str] = []
        names = [column.name for column in self.body]
        missing = [name for name in names if name not in frame.columns]
        unknown = [str(name) for name in frame.columns if name not in names]
        repeated = sorted({name for name in names if list(frame.columns).count(name) > 1})
        if repeated:
            problems.append(f"repeated column {', '.join(repeated)}")
        if missing:
            problems.append(f"missing column {', '.join(missing)}")
        if unknown:
            problems.append(f"unknown column {', '.join(unknown)}")
        if problems:
            raise SchemaError(self.name, problems)

        arrays: list[pa.Array] = []
        for column in self.body:
            try:
                arrays.append(_to_arrow(frame[column.name], column))
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                problems.append(f"column {column.name} is not {column.dtype} ({error})")
                continue
            if not column.nullable and arrays[-1].null_count:
                problems.append(f"column {column.name} has {arrays[-1].null_count} nulls")
        if problems:
            raise SchemaError(self.name, problems)
        key = [name for name in self.key if name in names]
        if key and (n_doubles := int(frame.duplicated(subset=key).sum())):
            raise SchemaError(self.name, [f"{n_doubles} rows repeat the key ({', '.join(key)})"])
        table = pa.Table.from_arrays(arrays, schema=pa.schema([column.field for column in self.body]))
        # Sorted as Arrow: a categorical column of pandas would sort by its categories, not by its values.
        return table.sort_by([(name, "ascending") for name in key]) if key else table


def _to_arrow(values: pd.Series, column: Column) -> pa.Array:
    """Convert one column. Arrow and numpy would cast '1.5', 1.9 or b'x' in silence, so the kind is checked first."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        if column.dtype == TEXT and pd.api.types.infer_dtype(values.cat.categories) in ("string", "empty"):
            # By way of Arrow's dictionary: ten million motif hits must not become ten million Python strings.
            return pa.array(values, from_pandas=True).cast(TEXT)
        values = values.astype(object)
    if values.isna().all():  # no value, so no kind: an empty column is a float64 to pandas
        return pa.nulls(len(values), column.dtype)
    kind, expected = pd.api.types.infer_dtype(values, skipna=True), _kinds(column.dtype)
    if expected is not None and kind not in expected:
        raise TypeError(f"found {kind}")
    if pa.types.is_floating(column.dtype):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isinf(numbers).any():
            raise ValueError("infinite values")
        if column.dtype == FLOAT32 and (np.abs(numbers) > np.finfo(np.float32).max).any():
            raise ValueError("values beyond its range")
        return pa.array(numbers, type=column.dtype, from_pandas=True)
    return pa.array(values.tolist() if values.dtype == object else values, type=column.dtype, from_pandas=True)


def _kinds(dtype: pa.DataType) -> tuple[str, ...] | None:
    """Kinds of values, in pandas' words, that may become ``dtype``; None where Arrow is strict itself."""
    if pa.types.is_floating(dtype):
        return "floating", "integer", "mixed-integer-float"
    if pa.types.is_integer(dtype):
        return ("integer",)
    if pa.types.is_string(dtype):
        return ("string",)
    return ("boolean",) if pa.types.is_boolean(dtype) else None


DATASET = Column("dataset", TEXT, "name of the data set", example="demo")
SEED = Column("seed", INT16, "random seed of the trained model", example="0")
MADE_BY = Column(
    "materialization_id",
    TEXT,
    "the materialization that wrote the row; key into `lineage`",
    example="7e97b447e32c...",
)
SOURCE = Column("source", TEXT, "regulator (TF)", example="TF12")
TARGET = Column("target", TEXT, "regulated gene", example="G013")
LAG = Column(
    "lag", INT16, "lag, counted from 1; by default each is a twentieth of pseudotime's range", "lags", example="2"
)
CELL = Column("cell", TEXT, "cell barcode", example="cell00001")
PVALUE = Column("pvalue", FLOAT64, "p-value of the test", example="0.1775")
PADJ = Column("padj", FLOAT64, "Benjamini-Hochberg adjusted p-value", example="0.6615")

# fmt: off
_TABLES = (
    Table(
        "datasets", "raw_dataset", "Registered data sets, one row each.",
        (
            DATASET,
            Column("file", TEXT, "path of the data file", example="/data/demo.h5mu"),
            Column("sha256", TEXT, "hash of the file's content", example="d5c6f05d1198..."),
            Column("size_bytes", INT64, "size of the file", "bytes", example="2607448"),
            Column("files", TEXT, "hash of every file that the settings name, as JSON",
                   example='{"file": "d5c6f05d1198c89b2425f96...'),
            Column("species", TEXT, "species", nullable=True, example="mouse"),
            Column("spec", TEXT, "the data set's description, as JSON",
                   example='{"cluster_key": "cell_type", "fil...'),
            Column("registered_at", TIME, "when this content was registered", example="2026-11-26 14:38:02+00"),
            MADE_BY,
        ),
        key=(),
    ),
    Table(
        "cells", "dataset", "Cells that entered the analysis.",
        (
            DATASET, CELL,
            Column("pseudotime", FLOAT64, "position along the trajectory", "pseudotime", example="0.6432"),
            Column("lineage", TEXT, "lineage", nullable=True, example="branch_b"),
            Column("cluster", TEXT, "cell group", nullable=True, example="early_b"),
            Column("sample", TEXT, "sample or donor", nullable=True, example="S2"),
            Column("n_counts", FLOAT64, "total counts over all genes", "counts", nullable=True, example="517"),
            Column("embedding_1", FLOAT32, "first coordinate of the 2-D embedding (UMAP if given, else PCA)",
                   example="6.361"),
            Column("embedding_2", FLOAT32, "second coordinate of the 2-D embedding", example="-2.37"),
            MADE_BY,
        ),
        key=("cell",),
    ),
    Table(
        "genes", "dataset", "Genes of the data set and their part in the model.",
        (
            DATASET,
            Column("gene", TEXT, "gene name", example="G013"),
            Column("n_cells", INT32, "cells in which the gene is detected", "cells", example="273"),
            Column("mean_expression", FLOAT32, "mean normalised expression", "log counts per 10,000",
                   example="0.9259"),
            Column("is_highly_variable", FLAG, "among the highly variable genes", example="true"),
            Column("is_eligible", FLAG, "may enter the model: detected in enough cells and varying", example="true"),
            MADE_BY,
        ),
        key=("gene",),
    ),
    Table(
        "gene_association", "gene_association", "Genes that change along pseudotime: a spline against a constant.",
        (
            DATASET,
            Column("lineage", TEXT, "lineage whose cells were fitted; all is every cell", example="all"),
            Column("gene", TEXT, "gene name", example="G013"),
            Column("n_cells", INT32, "cells of the lineage in which the gene is detected", "cells", example="273"),
            Column("statistic", FLOAT64, "F statistic", nullable=True, example="104.1"),
            Column("pvalue", FLOAT64, "p-value of the F test", nullable=True, example="4.191e-74"),
            Column("padj", FLOAT64, "Benjamini-Hochberg adjusted p-value over the genes of a lineage", nullable=True,
                   example="1.577e-72"),
            Column("amplitude", FLOAT32, "largest minus smallest value of the fit", "log counts per 10,000",
                   example="3.043"),
            Column("peak_pseudotime", FLOAT64, "pseudotime at which the fit is largest", "pseudotime", nullable=True,
                   example="1"),
            Column("is_associated", FLAG, "significant and of sufficient amplitude", example="true"),
            MADE_BY,
        ),
        key=("lineage", "gene"),
    ),
    Table(
        "peak_gene_links", "peak_gene_links", "Peaks near a gene, and whether their accessibility follows it.",
        (
            DATASET,
            Column("peak", TEXT, "peak or promoter, as chrom:start-end", example="chr1:26513000-26513500"),
            TARGET,
            Column("kind", TEXT, "atac: a measured peak; promoter: the sequence at the TSS, where there is no ATAC",
                   example="atac"),
            Column("distance_bp", INT32, "from the TSS to the peak's nearest edge; negative is upstream", "bp",
                   example="13000"),
            Column("correlation", FLOAT32, "Spearman correlation over metacells", nullable=True, example="0.7086"),
            Column("zscore", FLOAT32, "against peaks of like GC content and accessibility elsewhere", nullable=True,
                   example="2.647"),
            Column("pvalue", FLOAT64, "p-value of the z-score, one-sided", nullable=True, example="0.004056"),
            Column("padj", FLOAT64, "Benjamini-Hochberg adjusted p-value", nullable=True, example="0.04419"),
            Column("is_linked", FLAG, "passes the thresholds; a promoter always does", example="true"),
            MADE_BY,
        ),
        key=("target", "peak", "kind"),
    ),
    Table(
        "peaks", "peak_gene_links", "Peaks (or promoters) near genes.",
        (
            DATASET,
            Column("peak", TEXT, "peak or promoter, as chrom:start-end", example="chr1:100021000-100021500"),
            Column("chrom", TEXT, "chromosome", example="chr1"),
            Column("start", INT64, "first position, counted from 0", "bp", example="100021000"),
            Column("end", INT64, "position after the last", "bp", example="100021500"),
            Column("n_cells", INT32, "cells in which the peak is open", "cells", nullable=True, example="107"),
            Column("gc_content", FLOAT32, "share of G and C in its sequence", nullable=True, example="0.576"),
            MADE_BY,
        ),
        key=("peak",),
    ),
    Table(
        "tf_binding", "tf_binding", "Motif hits in linked peaks or promoters.",
        (
            DATASET,
            Column("peak", TEXT, "peak or promoter, as chrom:start-end", example="chr1:10431000-10431500"),
            Column("motif", TEXT, "identifier of the motif; `motifs` has its TFs", example="SIM0001.1"),
            Column("start", INT64, "first position of the hit on the chromosome, counted from 0", "bp",
                   example="10431096"),
            Column("end", INT64, "position after the last", "bp", example="10431107"),
            Column("strand", TEXT, "strand that reads the motif: + or -", example="-"),
            Column("score", FLOAT32, "log-odds score against the background", "bits", example="20.21"),
            Column("pvalue", FLOAT64, "chance of such a score at one position of background sequence",
                   example="2.384e-07"),
            MADE_BY,
        ),
        key=("peak", "motif", "start", "strand"),
    ),
    Table(
        "motifs", "tf_binding", "Motifs that were searched, with the TFs they stand for.",
        (
            DATASET,
            Column("motif", TEXT, "identifier of the motif", example="SIM0001.1"),
            Column("motif_name", TEXT, "name of the motif", example="TF01"),
            SOURCE,
            Column("relation", TEXT, "how the TF was found: given, name, case, alias or ortholog", example="given"),
            Column("width", INT16, "length of the motif", "bp", example="11"),
            Column("threshold", FLOAT32, "score from which a position is a hit", "bits", example="10.23"),
            Column("n_hits", INT64, "hits over all searched regions", "hits", example="84"),
            MADE_BY,
        ),
        key=("motif", "source"),
    ),
    Table(
        "prior_network", "prior_network", "Candidate edges; the model can find no others.",
        (
            DATASET, SOURCE, TARGET,
            Column("weight", FLOAT32, "weight in the imported network; of motif evidence the best link's correlation",
                   example="0.7086"),
            Column("evidence", TEXT, "motif_atac, motif_promoter, imported, curated or all_pairs, joined by '+'",
                   example="motif_atac"),
            Column("origin", TEXT, "files or resources that name the edge", example="demo.meme"),
            Column("n_peaks", INT32, "linked peaks or promoters with a motif of the TF", "peaks", nullable=True,
                   example="1"),
            Column("best_peak", TEXT, "of these the one whose accessibility follows the gene best", nullable=True,
                   example="chr1:26513000-26513500"),
            Column("link_correlation", FLOAT32, "Spearman correlation of that peak and the gene", nullable=True,
                   example="0.7086"),
            Column("best_motif", TEXT, "motif of smallest p-value in that peak", nullable=True, example="SIM0012.1"),
            Column("motif_score", FLOAT32, "log-odds score of that hit", "bits", nullable=True, example="19.19"),
            Column("motif_pvalue", FLOAT64, "chance of such a score at one position", nullable=True,
                   example="2.98e-07"),
            MADE_BY,
        ),
        key=("source", "target"),
    ),
    Table(
        "training_history", "trained_model", "Loss curves, one row per epoch.",
        (
            DATASET, SEED,
            Column("epoch", INT32, "epoch, counted from 1", example="10"),
            Column("loss", FLOAT64, "total training loss", example="0.7563"),
            Column("prediction_loss", FLOAT64, "mean squared error of the prediction", example="0.7018"),
            Column("sparsity", FLOAT64, "group elastic-net penalty before its weight", example="0.229"),
            Column("smoothness", FLOAT64, "smoothness penalty before its weight", example="0.2015"),
            Column("validation_loss", FLOAT64, "mean squared error on held-out cells", nullable=True,
                   example="0.788"),
            Column("learning_rate", FLOAT64, "learning rate of the epoch", example="0.0015"),
            MADE_BY,
        ),
        key=("epoch",), partition_by=("dataset", "seed"),
    ),
    Table(
        "seed_network", "seed_network", "Edges per lag of one seed's model.",
        (
            DATASET, SEED, SOURCE, TARGET, LAG,
            Column("weight", FLOAT32, "median coefficient over cells", example="0.1317"),
            Column("magnitude", FLOAT32, "median absolute coefficient over cells", example="0.1317"),
            Column("cv", FLOAT32, "coefficient of variation over cells", nullable=True, example="0"),
            MADE_BY,
        ),
        key=("source", "target", "lag"), partition_by=("dataset", "seed"),
    ),
    Table(
        "multiscale_network", "multiscale_network", "The K x P x Q network, aggregated over cells and seeds.",
        (
            DATASET, SOURCE, TARGET, LAG,
            Column("weight", FLOAT32, "median coefficient over cells, median over seeds", example="0.1314"),
            Column("magnitude", FLOAT32, "median absolute coefficient over cells, median over seeds",
                   example="0.1314"),
            Column("weight_sd", FLOAT32, "standard deviation of the weight over seeds", example="0.001734"),
            MADE_BY,
        ),
        key=("source", "target", "lag"),
    ),
    Table(
        "edges", "multiscale_network", "One row per candidate edge: the ranked network.",
        (
            DATASET, SOURCE, TARGET,
            Column("score", FLOAT32, "strength: absolute signed score (published: largest magnitude)",
                   example="0.5689"),
            Column("signed_score", FLOAT32, "total effect over lags; negative represses", example="0.5689"),
            Column("lag", FLOAT32, "estimated lag: mean of the lags weighted by effect", "lags", example="2.841"),
            Column("peak_lag", INT16, "lag of the largest effect", "lags", example="2"),
            Column("n_seeds", INT16, "seeds that were aggregated", example="3"),
            Column("stability", FLOAT32, "share of seeds that rank the edge among their top edges", example="1"),
            Column("sign_agreement", FLOAT32, "share of seeds that agree with the majority sign", example="1"),
            Column("score_sd", FLOAT32, "standard deviation of the score over seeds", example="0.006891"),
            Column("rank", INT32, "rank by score, 1 is the strongest", example="1"),
            Column("is_selected", FLAG, "passes the network's threshold", example="true"),
            Column("has_weight", FLAG, "the model keeps the edge; others are ordered by a dense model", nullable=True,
                   example="true"),
            Column("pvalue", FLOAT64, "of the TF's past beside the target's other candidates", nullable=True,
                   example="0.04378"),
            Column("padj", FLOAT64, "false discovery rate (Benjamini-Hochberg) over all edges", nullable=True,
                   example="0.2345"),
            MADE_BY,
        ),
        key=("source", "target"),
    ),
    Table(
        "seed_agreement", "multiscale_network", "How far two seeds agree.",
        (
            DATASET,
            Column("seed_a", INT16, "first seed", example="0"),
            Column("seed_b", INT16, "second seed", example="1"),
            Column("n_top", INT32, "edges in each seed's top list", example="329"),
            Column("jaccard", FLOAT32, "Jaccard index of the top lists", example="0.9353"),
            Column("spearman", FLOAT32, "rank correlation of the scores", nullable=True, example="0.9506"),
            MADE_BY,
        ),
        key=("seed_a", "seed_b"),
    ),
    Table(
        "regfactors", "regfactors", "RegFactors: target modules with the lags and TFs the core ties to them.",
        (
            DATASET,
            Column("regfactor", TEXT, "name, RF1 is the strongest", example="RF1"),
            Column("energy_share", FLOAT32, "share of the reconstructed network's squared norm", example="0.1443"),
            Column("link_share", FLOAT32, "share of that energy held by the one lag-TF pair of profiles shown",
                   example="0.9862"),
            Column("peak_lag", INT16, "lag with the largest loading", "steps", example="1"),
            Column("top_sources", TEXT, "TFs of largest loading, strongest first",
                   example="TF28, TF31, TF03, TF39, TF24, TF0..."),
            Column("top_targets", TEXT, "targets of largest loading, strongest first",
                   example="G129, TF31, G096, G123, G063, G03..."),
            Column("n_supported", INT16, "RegFactors of the data set that random networks do not explain; more are a "
                   "description. Null where the rank was set", "RegFactors", nullable=True, example="1"),
            MADE_BY,
        ),
        key=("regfactor",),
    ),
    Table(
        "regfactor_loadings", "regfactors", "Loadings of each RegFactor over lags, TFs and targets.",
        (
            DATASET,
            Column("regfactor", TEXT, "name of the RegFactor", example="RF1"),
            Column("mode", TEXT, "lag, source or target", example="source"),
            Column("name", TEXT, "the lag, TF or gene", example="TF12"),
            Column("loading", FLOAT32, "loading; unit norm over each mode", example="-0.001286"),
            MADE_BY,
        ),
        key=("regfactor", "mode", "name"),
    ),
    Table(
        "regfactor_components", "regfactors", "Tucker factor matrices, one row per entry.",
        (
            DATASET,
            Column("mode", TEXT, "lag, source or target", example="lag"),
            Column("component", INT16, "component of that mode, counted from 1", example="1"),
            Column("name", TEXT, "the lag, TF or gene", example="1"),
            Column("loading", FLOAT32, "entry of the factor matrix", example="0.7592"),
            MADE_BY,
        ),
        key=("mode", "component", "name"),
    ),
    Table(
        "regfactor_core", "regfactors", "Tucker core, one row per entry.",
        (
            DATASET,
            Column("lag_component", INT16, "component of the lag mode, counted from 1", example="1"),
            Column("source_component", INT16, "component of the TF mode, counted from 1", example="1"),
            Column("target_component", INT16, "component of the target mode, counted from 1", example="1"),
            Column("value", FLOAT32, "entry of the core", example="0.4267"),
            MADE_BY,
        ),
        key=("lag_component", "source_component", "target_component"),
    ),
    Table(
        "tf_activity", "tf_activity", "Activity of each TF in each cell.",
        (
            DATASET, CELL, SOURCE,
            Column("activity", FLOAT32, "t-statistic of the TF in the cell's multivariate linear model",
                   example="-1.356"),
            PVALUE, PADJ, MADE_BY,
        ),
        key=("cell", "source"),
    ),
    Table(
        "regfactor_activity", "regfactor_activity", "Activity of each RegFactor in each cell.",
        (
            DATASET, CELL,
            Column("regfactor", TEXT, "name of the RegFactor", example="RF1"),
            Column("activity", FLOAT32, "t-statistic of the RegFactor in the cell's multivariate linear model",
                   example="4.949"),
            PVALUE, PADJ, MADE_BY,
        ),
        key=("cell", "regfactor"),
    ),
    Table(
        "ligand_receptor", "communication_scores", "Ligand-receptor scores between cell groups.",
        (
            DATASET,
            Column("sender", TEXT, "cell group that expresses the ligand", example="early_a"),
            Column("receiver", TEXT, "cell group that expresses the receptor", example="early_a"),
            Column("ligand", TEXT, "ligand, subunits joined by '_'", example="LIG04"),
            Column("receptor", TEXT, "receptor, subunits joined by '_'", example="REC04"),
            Column("ligand_mean", FLOAT32, "mean expression of the ligand in the sender", example="2.24"),
            Column("receptor_mean", FLOAT32, "mean expression of the receptor in the receiver", example="0.9697"),
            Column("score", FLOAT32, "product of the two means", example="2.173"),
            PVALUE, PADJ, MADE_BY,
        ),
        key=("sender", "receiver", "ligand", "receptor"),
    ),
    Table(
        "receptor_tf", "communication_scores", "Association of a receptor with a TF along pseudotime.",
        (
            DATASET,
            Column("receptor", TEXT, "receptor gene", example="REC02"),
            Column("tf", TEXT, "TF downstream of the receptor", example="TF18"),
            Column("lag", INT16, "lag of the strongest association; 0 is none", "bins of pseudotime", example="4"),
            Column("association", FLOAT32, "correlation of the receptor with the later TF", example="0.6361"),
            PVALUE, PADJ, MADE_BY,
        ),
        key=("receptor", "tf"),
    ),
    Table(
        "communication_scores", "communication_scores", "Cascades: ligand -> receptor -> TF.",
        (
            DATASET,
            Column("sender", TEXT, "cell group that expresses the ligand", example="early_b"),
            Column("receiver", TEXT, "cell group that expresses the receptor", example="early_a"),
            Column("ligand", TEXT, "ligand", example="LIG02"),
            Column("receptor", TEXT, "receptor", example="REC02"),
            Column("tf", TEXT, "TF downstream of the receptor", example="TF18"),
            Column("lag", INT16, "lag from receptor to TF", "bins of pseudotime", example="4"),
            Column("ligand_receptor_score", FLOAT32, "score of the ligand-receptor pair", example="1.751"),
            Column("receptor_tf_association", FLOAT32, "correlation of the receptor with the later TF",
                   example="0.6361"),
            Column("score", FLOAT32, "rank product of the two parts, 0 to 1; higher is stronger", example="0.8664"),
            PVALUE, PADJ, MADE_BY,
        ),
        key=("sender", "receiver", "ligand", "receptor", "tf"),
    ),
    Table(
        "imported_networks", "imported_networks", "Networks made elsewhere, to be compared with this one.",
        (
            DATASET,
            Column("method", TEXT, "name that the data set's settings give the network", example="celloracle"),
            SOURCE, TARGET,
            Column("weight", FLOAT64, "weight in the file; of an edge that it repeats, the largest in absolute value",
                   example="-0.213"),
            Column("rank", INT32, "rank by absolute weight, 1 is the strongest", example="17"),
            Column("is_candidate", FLAG, "a candidate edge of the data set's prior, too", example="true"),
            MADE_BY,
        ),
        key=("method", "source", "target"),
    ),
    Table(
        "baseline_networks", "baseline_networks",
        "What simpler methods and controls make of the same data; of data sets with a ground truth.",
        (
            DATASET,
            Column("method", TEXT, "baseline or control", example="ridge"),
            SOURCE, TARGET,
            Column("score", FLOAT64, "strength, in the method's own unit: compare ranks between methods",
                   example="0.2012"),
            Column("signed_score", FLOAT64, "negative represses; 0 where the method says nothing of the sign",
                   example="0.2012"),
            Column("lag", FLOAT32, "estimated lag, where the method has one", "lags", nullable=True, example="2.62"),
            Column("rank", INT32, "rank by score, 1 is the strongest; edges of equal score share one", example="3"),
            Column("runtime_s", FLOAT64, "time that the method took for all its edges", "s", is_measured=True,
                   example="0.344"),
            Column("peak_memory_mib", FLOAT64, "largest memory of the process while the method ran", "MiB",
                   nullable=True, is_measured=True, example="512.4"),
            MADE_BY,
        ),
        key=("method", "source", "target"),
    ),
    Table(
        "network_scores", "network_scores", "The network, baselines and controls against a ground truth.",
        (
            DATASET,
            Column("method", TEXT, "scmagnify, an imported network, or a baseline or control beside it",
                   example="scmagnify"),
            Column("truth", TEXT, "kind of ground truth", example="simulated_truth"),
            Column("prior_edges", TEXT, "kept; removed from truth and universe; only: the universe is the prior",
                   example="only"),
            Column("n_true", INT32, "true edges in the universe", "edges", example="298"),
            Column("n_universe", INT64, "pairs that were ranked", "edges", example="3286"),
            Column("density", FLOAT64, "share of true edges: the AUPRC of a random ranking", example="0.09069"),
            Column("auprc", FLOAT64, "area under precision-recall (average precision)", example="0.3951"),
            Column("auprc_ratio", FLOAT64, "AUPRC over density", example="4.357"),
            Column("epr", FLOAT64, "early precision over density", example="4.44"),
            Column("epr_ceiling", FLOAT64, "largest EPR that is possible", example="11.03"),
            Column("sign_accuracy", FLOAT64, "share of true edges of right sign", nullable=True, example="0.9195"),
            Column("lag_spearman", FLOAT64, "rank correlation of estimated and true lag", nullable=True,
                   example="0.4647"),
            Column("variant", TEXT, "whose definition of the figures: canonical, deepsem, beeline", nullable=True,
                   example="canonical"),
            Column("auprc_z", FLOAT64, "AUPRC against random labels", "standard deviations", nullable=True,
                   example="54.9"),
            Column("epr_z", FLOAT64, "EPR against random labels", "standard deviations", nullable=True,
                   example="19.67"),
            Column("auprc_ratio_low", FLOAT64, "lower end of the 95 % interval over TFs", nullable=True,
                   example="3.628"),
            Column("auprc_ratio_high", FLOAT64, "upper end of the 95 % interval over TFs", nullable=True,
                   example="5.219"),
            Column("epr_low", FLOAT64, "lower end of the 95 % interval over TFs", nullable=True, example="3.822"),
            Column("epr_high", FLOAT64, "upper end of the 95 % interval over TFs", nullable=True, example="5.206"),
            Column("auprc_ratio_folds", FLOAT64, "mean AUPRC ratio over disjoint folds of TFs", nullable=True,
                   example="4.41"),
            Column("epr_folds", FLOAT64, "mean EPR over disjoint folds of TFs", nullable=True, example="4.399"),
            Column("preset", TEXT, "preset of the data set", nullable=True, example="recommended"),
            Column("runtime_s", FLOAT64, "time to rank the candidates: of scmagnify that of its steps from training "
                   "on, over all seeds; null for networks made elsewhere", "s", nullable=True, is_measured=True,
                   example="9.41"),
            Column("peak_memory_mib", FLOAT64, "largest memory of a process meanwhile; null where runtime_s is",
                   "MiB", nullable=True, is_measured=True, example="731.2"),
            MADE_BY,
        ),
        key=("method", "truth", "prior_edges", "variant"),
    ),
    Table(
        "leaderboard", "leaderboard", "Methods over all data sets that have a ground truth.",
        (
            Column("dataset", TEXT, "always 'all'", example="all"),
            Column("preset", TEXT, "preset of the data sets", example="recommended"),
            Column("truth", TEXT, "kind of ground truth; all: the mean over the kinds of a data set counts once",
                   example="all"),
            Column("prior_edges", TEXT, "kept; removed from truth and universe; only: the universe is the prior",
                   example="only"),
            Column("method", TEXT, "scmagnify, an imported network, or a baseline or control beside it",
                   example="scmagnify"),
            Column("n_datasets", INT32, "data sets", "data sets", example="1"),
            Column("mean_rank", FLOAT64, "mean over data sets of the rank by AUPRC; 1 is best", example="1"),
            Column("auprc_ratio", FLOAT64, "mean AUPRC ratio", example="4.357"),
            Column("auprc_ratio_low", FLOAT64, "lower end of the 95 % interval over data sets", nullable=True,
                   example="3.63"),
            Column("auprc_ratio_high", FLOAT64, "upper end of the 95 % interval over data sets", nullable=True,
                   example="5.22"),
            Column("epr", FLOAT64, "mean EPR", example="4.44"),
            Column("epr_low", FLOAT64, "lower end of the 95 % interval over data sets", nullable=True,
                   example="3.61"),
            Column("epr_high", FLOAT64, "upper end of the 95 % interval over data sets", nullable=True,
                   example="5.27"),
            Column("runtime_s", FLOAT64, "median time to rank the candidates", "s", nullable=True, is_measured=True,
                   example="9.41"),
            Column("peak_memory_mib", FLOAT64, "median of the largest memory of a process meanwhile", "MiB",
                   nullable=True, is_measured=True, example="731.2"),
            MADE_BY,
        ),
        key=("preset", "truth", "prior_edges", "method"),
    ),
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
            Column("asset", TEXT, "asset that was materialized", example="trained_model"),
            DATASET,
            Column("seed", INT16, "seed, for assets that have one", nullable=True, example="2"),
            Column("name", TEXT, "name of the file within its asset", example="weights.safetensors"),
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

# fmt: on
TABLES: Mapping[str, Table] = {table.name: table for table in _TABLES}


def tables_of(asset: str) -> list[Table]:
    """The tables that one asset writes, in declared order."""
    return [table for table in _TABLES if table.asset == asset]

"""Results leave for the tools people already use; networks made elsewhere come in, to be compared.

What leaves, and in whose words:

=========================  ================================================================================
`edge_list`                ``source, target, weight`` of decoupler, CellOracle's links, SCENIC's adjacencies
`to_graph`                 a graph with attributes, for Gephi, Cytoscape and networkx (`write_graph`)
`to_anndata`, `to_mudata`  cells, genes, activities and network in one object, for scanpy, mudata and decoupler
=========================  ================================================================================

What comes in (`read_network`) is a list of edges in any of these layouts, and of decoupler's other ones.

Decisions
---------
* The weight of an edge is its signed score: its total effect over lags, negative where the TF represses. Where a
  format knows strength alone (SCENIC, a graph's layout), it is the score.
* Edges that the model leaves out do not leave, although they have a rank: their scores, of a dense model's share, order
  candidates and say nothing of an effect.
* Only types that every reader knows: floats, integers, flags and texts. What is not known is left out of a graph, for
  its formats have no word for it, and is NaN elsewhere.
* Activities lie where decoupler 2 leaves its own, as frames of cells x TFs in ``obsm``: ``decoupler.pp.get_obsm`` takes
  them from there.
* Of a network that comes in, only edges between measured genes count, none of a gene to itself. An edge that is named
  more than once, as by links per cluster, keeps its largest absolute weight, by which edges are ranked. Weights that
  are never negative, as importances are, say nothing of the sign.

Which results belong together, where they lie and how a file gets there whole is not decided here.
"""

import json
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from scmagnify_core.data.dataset import Dataset
from scmagnify_core.errors import InputError
from scmagnify_core.prior.assemble import no_overlap
from scmagnify_core.prior.base_network import read_edges

if TYPE_CHECKING:
    import networkx as nx
    from anndata import AnnData
    from mudata import MuData

Layout = Literal["decoupler", "celloracle", "scenic"]
EDGE_ATTRIBUTES = (
    "score", "signed_score", "lag", "peak_lag", "stability", "sign_agreement", "pvalue", "padj", "rank", "is_selected",
)  # fmt: skip
PER_ARRAY = 8192  # bytes, of headers and half-filled pages in HDF5
# Keys of obsm: those of decoupler's multivariate linear model, which ours is, and the same for RegFactors.
SCORES = {"tf_activity": ("score_mlm", "padj_mlm"), "regfactor_activity": ("score_regfactor", "padj_regfactor")}


@dataclass(frozen=True)
class Results:
    """What there is of one data set, in the columns that ``tables.py`` declares; empty frames are what there is not.

    ``edges`` are those that leave (`choose_edges`). ``about`` says where all this comes from: texts, numbers, lists of
    them, and mappings of texts.
    """

    dataset: Dataset
    edges: pd.DataFrame
    multiscale_network: pd.DataFrame
    regfactors: pd.DataFrame
    regfactor_loadings: pd.DataFrame
    tf_activity: pd.DataFrame
    regfactor_activity: pd.DataFrame
    about: Mapping[str, Any]


def choose_edges(
    edges: pd.DataFrame, *, selected: bool = False, top: int | None = None, max_padj: float | None = None
) -> pd.DataFrame:
    """The edges that leave, strongest first: those that the model keeps, and of these what is asked for.

    Parameters
    ----------
    edges
        Body of the ``edges`` table.
    selected
        Only edges that pass the network's threshold.
    top
        Only so many, the strongest, of what the other conditions leave.
    max_padj
        Only edges whose false discovery rate is known and not above this.

    Raises
    ------
    InputError
        No edge is left.
    """
    # Edges of an older product do not say whether they have a weight; then all had that have a score.
    keep = edges["has_weight"].astype("boolean").fillna(edges["score"] > 0).to_numpy(dtype=bool)
    n_kept = int(keep.sum())
    if selected:
        keep &= edges["is_selected"].to_numpy(dtype=bool)
    if max_padj is not None:
        keep &= (edges["padj"] <= max_padj).to_numpy(dtype=bool)
    chosen = edges[keep].sort_values("rank", kind="stable", ignore_index=True)
    if chosen.empty:
        smallest = edges["padj"].min()
        found = f"none of the {n_kept:,} edges that the model keeps passes" + (
            f"; the smallest padj is {smallest:.3g}." if max_padj is not None and np.isfinite(smallest) else "."
        )
        raise InputError("edges", found, "Ask for less: a larger max_padj, or not only selected edges.")
    return chosen if top is None else chosen.head(top)


def edge_list(edges: pd.DataFrame, layout: Layout = "decoupler") -> pd.DataFrame:
    """Edges as another tool names them, one row per edge, in the order given.

    ``decoupler``: ``source, target, weight`` (signed), what its methods take as ``net``. ``celloracle``: columns of
    its tables of links, ``source, target, coef_mean`` (signed), ``coef_abs, p, -logp`` (to base 10). ``scenic``: the
    adjacencies of SCENIC, GRNBoost2 and GENIE3, ``TF, target, importance`` (strength, without a sign).
    """
    names = edges[["source", "target"]].reset_index(drop=True)
    weight = edges["signed_score"].to_numpy()
    if layout == "scenic":
        return names.rename(columns={"source": "TF"}).assign(importance=edges["score"].to_numpy())
    if layout == "decoupler":
        return names.assign(weight=weight)
    pvalue = edges["pvalue"].to_numpy(dtype=np.float64)
    least = np.finfo(np.float64).smallest_subnormal  # a p-value of 0 is one too small for a float
    links = names.assign(coef_mean=weight, coef_abs=np.abs(weight), p=pvalue)
    return links.assign(**{"-logp": -np.log10(np.maximum(pvalue, least))})


def write_edges(edges: pd.DataFrame, path: Path, about: Mapping[str, Any]) -> None:
    """Write an `edge_list` as CSV, TSV or parquet, by the ending; only parquet has a place for ``about``."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(edges, preserve_index=False)
        known = table.schema.metadata or {}
        pq.write_table(table.replace_schema_metadata(known | {b"scmagnify": json.dumps(about).encode()}), path)
    else:
        edges.to_csv(path, index=False, sep="," if path.suffix == ".csv" else "\t")


# ---------------------------------------------------------------- graphs


def to_graph(
    edges: pd.DataFrame,
    sources: Collection[str] = (),
    genes: pd.DataFrame | None = None,
    loadings: pd.DataFrame | None = None,
    about: Mapping[str, Any] | None = None,
) -> "nx.DiGraph":
    """Edges as a directed graph whose attributes are plain Python values.

    Parameters
    ----------
    edges
        Body of the ``edges`` table, or some rows of it.
    sources
        All TFs of the model; those of ``edges`` count in any case.
    genes
        Body of the ``genes`` table, for ``mean_expression``.
    loadings
        Body of the ``regfactor_loadings`` table, for ``regfactor``: the RegFactor of the gene's largest absolute
        loading as a target or, for a gene that is no target of the model, as a TF.
    about
        Becomes attributes of the graph; what is no text or number is left out.

    Returns
    -------
    Nodes have ``is_tf``, ``out_degree`` and ``in_degree`` (of these edges) and, where known, ``mean_expression``,
    ``regfactor`` and ``regfactor_loading``. Edges have ``weight`` (the score again, which is what layouts take),
    ``interaction`` (``activates`` or ``represses``) and the columns of ``edges``.
    """
    import networkx as nx

    graph = nx.DiGraph(**{key: value for key, value in (about or {}).items() if isinstance(value, str | int | float)})
    tfs = {*sources, *edges["source"]}
    expression = {} if genes is None else dict(zip(genes["gene"], genes["mean_expression"].tolist(), strict=True))
    factors = {} if loadings is None else _largest_loadings(loadings)
    out_degree, in_degree = (edges[end].value_counts().to_dict() for end in ("source", "target"))
    for gene in sorted({*edges["source"], *edges["target"]}):
        about_gene: dict[str, Any] = {
            "is_tf": gene in tfs,
            "out_degree": out_degree.get(gene, 0),
            "in_degree": in_degree.get(gene, 0),
        }
        if gene in expression:
            about_gene["mean_expression"] = expression[gene]
        if gene in factors:
            about_gene["regfactor"], about_gene["regfactor_loading"] = factors[gene]
        graph.add_node(gene, **_known(about_gene))
    columns = [name for name in EDGE_ATTRIBUTES if name in edges]
    values = {name: edges[name].tolist() for name in columns}  # numpy's numbers become Python's
    for row, (source, target) in enumerate(zip(edges["source"], edges["target"], strict=True)):
        attributes = {name: values[name][row] for name in columns}
        sign = "represses" if attributes["signed_score"] < 0 else "activates"
        graph.add_edge(source, target, weight=attributes["score"], interaction=sign, **_known(attributes))
    return graph


def _known(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if not pd.isna(value)}


def _largest_loadings(loadings: pd.DataFrame) -> dict[str, tuple[str, float]]:
    """The RegFactor of each gene's largest absolute loading, as a target where it is one, and that loading."""
    rows = loadings[loadings["mode"].isin(["source", "target"]) & (loadings["loading"] != 0)]
    rows = rows.assign(is_target=rows["mode"] == "target", size=rows["loading"].abs())
    rows = rows.sort_values(["is_target", "size", "regfactor"], ascending=[False, False, True], kind="stable")
    first = rows.drop_duplicates("name")
    return dict(zip(first["name"], zip(first["regfactor"], first["loading"].tolist(), strict=True), strict=True))


def write_graph(graph: "nx.DiGraph", path: Path) -> None:
    """Write a graph as GraphML (Cytoscape, Gephi, igraph, networkx) or GEXF (Gephi, networkx), by the ending."""
    import networkx as nx

    if path.suffix == ".gexf":
        nx.write_gexf(graph, path)
    else:
        nx.write_graphml(graph, path, named_key_ids=True)


# ---------------------------------------------------------------- AnnData and MuData


def to_anndata(results: Results) -> "AnnData":
    """Everything in one AnnData; the data set itself is not changed.

    Returns
    -------
    The RNA as analysed, and

    * ``obsm``: ``score_mlm`` and ``padj_mlm`` (cells x TFs), ``score_regfactor`` and ``padj_regfactor`` (cells x
      RegFactors), as frames; absent where no activity could be estimated;
    * ``var``: ``is_tf``, ``is_target``: the gene's part in the model;
    * ``varm['regfactor_loadings']``: genes x RegFactors, loadings as targets; 0 for a gene that is no target;
    * ``uns``: the tables ``edges`` (with ``weight``, so that decoupler takes it as ``net``), ``multiscale_network``
      (the same edges, by lag), ``regfactors`` and ``regfactor_loadings``, and ``scmagnify``: where all this comes from.
    """
    rna = _rna(results)
    rna.uns |= _tables(results)
    return rna


def to_mudata(results: Results) -> "MuData":
    """Everything as a MuData, with the activities as modalities of their own.

    Returns
    -------
    Modality ``rna`` as of `to_anndata` but for ``uns``, which is the whole object's; ``atac`` where the data set has
    one; ``tf_activity`` and ``regfactor_activity`` (cells x TFs or RegFactors, ``layers['padj']``) with the cells'
    columns and embedding, to be plotted by themselves.
    """
    import mudata

    rna = _rna(results)
    modalities = {"rna": rna}
    if results.dataset.atac is not None:
        modalities["atac"] = results.dataset.atac
    for name in SCORES:
        if (activity := _activity_modality(name, rna, results)) is not None:
            modalities[name] = activity
    with _joining():
        whole = mudata.MuData(modalities)
        whole.obs = rna.obs.copy()
        whole.uns |= _tables(results)
    return whole


@contextmanager
def _joining() -> Iterator[None]:
    """How modalities are joined.

    Without pulling, which would put each column of obs there once more for every modality. TFs keep their names, as
    decoupler and plots have it, although they are genes of the RNA, too: mudata warns of that, and tells them apart.
    """
    import mudata

    with mudata.set_options(pull_on_update=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="var_names are not unique")
        yield


def write_object(value: "AnnData | MuData", path: Path) -> None:
    """Write an AnnData as h5ad or a MuData as h5mu; gzip, which every HDF5 library can read."""
    import anndata

    if isinstance(value, anndata.AnnData):
        value.write_h5ad(path, compression="gzip")
    else:
        with _joining():
            value.write_h5mu(path, compression="gzip")


def size_of(value: "AnnData | MuData") -> int:
    """Bytes that `write_object` takes at most: without compression, and with what HDF5 adds to each array."""
    import anndata

    parts = [value] if isinstance(value, anndata.AnnData) else [*value.mod.values(), value]
    places = ("X", "obs", "var", "obsm", "varm", "layers", "obsp", "uns")
    return sum(_n_bytes(getattr(part, place)) for part in parts for place in places if hasattr(part, place))


def _n_bytes(value: Any) -> int:
    if isinstance(value, pd.DataFrame):
        return int(value.memory_usage(deep=True).sum()) + PER_ARRAY * (value.shape[1] + 1)
    if sparse.issparse(value):
        return int(value.data.nbytes + value.indices.nbytes + value.indptr.nbytes) + 3 * PER_ARRAY
    if isinstance(value, np.ndarray):
        return int(value.nbytes) + PER_ARRAY
    if isinstance(value, Mapping):
        return PER_ARRAY + sum(_n_bytes(one) for one in value.values())
    return PER_ARRAY


def _rna(results: Results) -> "AnnData":
    """The RNA with activities, loadings and flags of genes; all but ``uns``."""
    rna = results.dataset.rna.copy()
    model = results.multiscale_network
    rna.var["is_tf"] = rna.var_names.isin(model["source"].unique())
    rna.var["is_target"] = rna.var_names.isin(model["target"].unique())
    for name, keys in SCORES.items():
        for key, column in zip(keys, ("activity", "padj"), strict=True):
            if (wide := _cells_by(name, column, rna.obs_names, results)) is not None:
                rna.obsm[key] = wide
    of_targets = results.regfactor_loadings.query("mode == 'target'")
    if len(of_targets):
        wide = of_targets.pivot(index="name", columns="regfactor", values="loading")
        wide = wide.reindex(index=rna.var_names, columns=sorted(wide.columns, key=_by_number))
        rna.varm["regfactor_loadings"] = wide.fillna(0).rename_axis(index=None, columns=None)
    return rna


def _cells_by(name: str, column: str, cells: pd.Index, results: Results) -> pd.DataFrame | None:
    """One column of an activity table as cells x TFs, in decoupler's order (by name), or cells x RegFactors."""
    table: pd.DataFrame = getattr(results, name)
    if table.empty:
        return None
    key, order = ("source", None) if name == "tf_activity" else ("regfactor", _by_number)
    names = pd.Index(sorted(table[key].unique(), key=order), dtype=object)
    long = table[column].to_numpy()
    values = np.full((len(cells), len(names)), np.nan, dtype=long.dtype)
    values[cells.get_indexer(pd.Index(table["cell"])), names.get_indexer(pd.Index(table[key]))] = long
    return pd.DataFrame(values, index=cells, columns=names)


def _by_number(regfactor: str) -> tuple[int, str]:
    """RF2 before RF10."""
    return len(regfactor), regfactor


def _activity_modality(name: str, rna: "AnnData", results: Results) -> "AnnData | None":
    import anndata

    score, padj = SCORES[name]
    if score not in rna.obsm:
        return None
    names = rna.obsm[score].columns
    if name == "tf_activity":
        n_targets = results.edges["source"].value_counts()
        var = pd.DataFrame({"n_targets": n_targets.reindex(names, fill_value=0).to_numpy()}, index=names)
    else:
        var = results.regfactors.set_index("regfactor").reindex(names).rename_axis(None)
    return anndata.AnnData(
        rna.obsm[score].to_numpy(),
        obs=rna.obs.copy(),
        var=var,
        obsm={"X_embedding": rna.obsm["X_embedding"]},
        layers={"padj": rna.obsm[padj].to_numpy()},
    )


def _tables(results: Results) -> dict[str, Any]:
    """What goes into ``uns``."""
    edges = results.edges.assign(weight=results.edges["signed_score"])
    first = ["source", "target", "weight"]
    by_lag = results.multiscale_network.merge(edges[["source", "target"]], on=["source", "target"], how="inner")
    tables = {
        "edges": edges[[*first, *(name for name in EDGE_ATTRIBUTES if name in edges)]],
        "multiscale_network": by_lag,
        "regfactors": results.regfactors,
        "regfactor_loadings": results.regfactor_loadings,
    }
    return {name: table.reset_index(drop=True) for name, table in tables.items() if len(table)} | {
        "scmagnify": _storable(results.about)
    }


def _storable(value: Any) -> Any:
    """A value as HDF5 can hold it: lists as arrays, nothing for what is not known."""
    if isinstance(value, Mapping):
        return {key: _storable(one) for key, one in value.items() if one is not None}
    return np.asarray(value) if isinstance(value, list | tuple) else value


# ---------------------------------------------------------------- networks made elsewhere


def read_network(name: str, path: Path, genes: Iterable[str]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read a network that was made elsewhere, to compare it.

    Parameters
    ----------
    name
        What the user calls it, for messages.
    path
        Parquet, CSV or TSV with source and target, and a weight, under any of the field's names.
    genes
        Names of the measured genes.

    Returns
    -------
    Frame with ``source, target, weight, rank``, one row per edge between measured genes, the strongest first (ties by
    name), and notes on what was left out or merged.

    Raises
    ------
    InputError
        As :func:`~scmagnify_core.prior.read_base_network`, or no edge is between measured genes; the message says why.
    """
    edges, measured = read_edges(path)[["source", "target", "weight"]], pd.Index(genes)
    is_measured = edges["source"].isin(measured) & edges["target"].isin(measured)
    if not is_measured.any():
        raise InputError(f"network '{name}' ('{path.name}')", *no_overlap(edges, measured, "network"))
    is_self = edges["source"] == edges["target"]
    kept = edges[is_measured & ~is_self]
    if kept.empty:
        raise InputError(
            f"network '{name}' ('{path.name}')", "has no edge between two measured genes but of genes to themselves.",
            "Give a network of regulators and their targets.",
        )  # fmt: skip
    kept = kept.assign(size=kept["weight"].abs())
    kept = kept.sort_values(["size", "source", "target"], ascending=[False, True, True], kind="stable")
    ranked = kept.drop_duplicates(["source", "target"], ignore_index=True).drop(columns="size")
    ranked["rank"] = np.arange(1, len(ranked) + 1, dtype=np.int32)
    notes = [f"{len(ranked):,} of {len(edges):,} edges of {name} are between measured genes"]
    if n_repeats := len(kept) - len(ranked):
        notes.append(f"{n_repeats:,} rows repeat an edge: the largest absolute weight counts")
    if n_self := int((is_self & is_measured).sum()):
        notes.append(f"{n_self:,} edges of a gene to itself were left out")
    if ranked["weight"].nunique() == 1:
        notes.append("all its weights are the same, so its order says nothing")
    return ranked, tuple(notes)


def as_ranking(edges: pd.DataFrame) -> pd.DataFrame:
    """A network that came in as other rankings are: ``source, target, score, signed_score``."""
    weight = edges["weight"].to_numpy(dtype=np.float64)
    signed = weight if (weight < 0).any() else np.full(len(weight), np.nan)
    return edges[["source", "target"]].assign(score=np.abs(weight), signed_score=signed)

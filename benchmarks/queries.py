"""How long the cookbook's questions take on a large lake: 100 data sets x 5 seeds, 1e8 rows of seeds' edges.

    python benchmarks/queries.py make LAKE    # generates the lake, some 3 GB; goes on where it was stopped
    python benchmarks/queries.py ask LAKE     # times every statement of docs/cookbook.md, writes the table there

The lake is written by the product's own `Lakehouse`, one materialization per asset and partition, with random numbers:
100 TFs x 1,000 genes at 40 % density and five lags per data set, 2,000 cells. Each statement is asked seven times on
one connection, after one that does not count; the median is told, and beside it the first. A
*point* question names a data set; the others read all of them.
"""

import argparse
import re
import statistics
import time
from pathlib import Path

import numpy as np
import pandas as pd
from record import save

from scmagnify_assets.lake.lakehouse import Lakehouse

N_DATASETS, N_SEEDS, N_LAGS = 100, 5, 5
N_SOURCES, N_TARGETS, DENSITY = 100, 1_000, 0.4
N_CELLS, N_FACTORS, N_PEAKS = 2_000, 8, 5_000
REPEATS = 7
COOKBOOK = Path(__file__).parents[1] / "docs" / "cookbook.md"
MADE = {"run_id": "benchmark", "inputs": (), "parameters": {"file": "/data/x.h5ad"}, "file_sha256": "f" * 64}


def names() -> list[str]:
    """Those that the cookbook asks for, and others."""
    return ["demo", "demo_a", "demo_b", *(f"set_{i:03d}" for i in range(3, N_DATASETS))]


def make(lake: Lakehouse) -> None:
    """Write what is not there yet; a data set's `datasets` row is its last."""
    lake.create()
    done = set(lake.read("datasets")["dataset"])
    for number, name in enumerate(names()):
        if name not in done:
            started = time.perf_counter()
            _write(lake, name, np.random.default_rng(number))
            print(f"{name}: {time.perf_counter() - started:.1f} s", flush=True)
    lake.compact(1)


def _write(lake: Lakehouse, name: str, rng: np.random.Generator) -> None:
    tfs = np.array([f"TF{i:02d}" for i in range(N_SOURCES)])
    genes = np.concatenate([tfs, [f"G{i:03d}" for i in range(N_TARGETS - N_SOURCES)]])
    pairs = np.sort(rng.choice(N_SOURCES * N_TARGETS, int(DENSITY * N_SOURCES * N_TARGETS), replace=False))
    pairs = np.union1d(pairs, [12 * N_TARGETS + N_SOURCES + 13])  # TF12 -> G013, which the cookbook asks about
    p, q = pairs // N_TARGETS, pairs % N_TARGETS
    n = len(pairs)
    edges = pd.DataFrame({"source": pd.Categorical.from_codes(p, tfs), "target": pd.Categorical.from_codes(q, genes)})
    lagged = edges.loc[edges.index.repeat(N_LAGS)].reset_index(drop=True).assign(lag=np.tile(range(1, N_LAGS + 1), n))
    weight = rng.laplace(size=n * N_LAGS) * np.repeat(rng.random(n) ** 3, N_LAGS)

    def put(asset: str, seed: int | None = None, **tables: pd.DataFrame) -> None:
        lake.write(asset, name, seed, tables, {}, seeds=list(range(N_SEEDS)), **MADE)

    for seed in range(N_SEEDS):
        one = weight + 0.1 * rng.normal(size=len(weight))
        put("seed_network", seed, seed_network=lagged.assign(weight=one, magnitude=np.abs(one), cv=0.1))
    signed = weight.reshape(n, N_LAGS).sum(1)
    rank = pd.Series(np.abs(signed)).rank(ascending=False, method="first").astype(int)
    put(
        "multiscale_network",
        multiscale_network=lagged.assign(weight=weight, magnitude=np.abs(weight), weight_sd=0.1),
        edges=edges.assign(
            score=np.abs(signed), signed_score=signed, lag=rng.uniform(1, 5, n), peak_lag=1, n_seeds=N_SEEDS,
            stability=np.where(rank < n / 10, 1.0, 0.2), sign_agreement=1.0, score_sd=0.1, rank=rank,
            is_selected=rank < n / 10, has_weight=rank < n / 2, pvalue=rng.random(n) ** 4, padj=rng.random(n) ** 2,
        ),
        seed_agreement=pd.DataFrame(
            [(a, b, n // 10, 0.8, 0.9) for a in range(N_SEEDS) for b in range(a)],
            columns=["seed_a", "seed_b", "n_top", "jaccard", "spearman"],
        ),
    )  # fmt: skip
    put("prior_network", prior_network=edges.assign(
        weight=1.0, evidence="motif_atac", origin="motifs", n_peaks=1, best_peak=None, link_correlation=0.3,
        best_motif="M1", motif_score=9.0, motif_pvalue=1e-5,
    ))  # fmt: skip
    _write_cells(put, rng, tfs, genes)
    _write_evidence(put, rng, tfs, genes)
    groups = [f"group {i}" for i in range(8)]
    chains = pd.MultiIndex.from_product(
        [groups[:4], groups[4:], [f"L{i}" for i in range(10)], tfs[:10]], names=["sender", "receiver", "ligand", "tf"]
    ).to_frame(index=False)
    chains = chains.assign(receptor="R" + chains["ligand"].str[1:], pvalue=0.01, padj=rng.random(len(chains)))
    put(
        "communication_scores",
        communication_scores=chains.assign(
            lag=1, ligand_receptor_score=1.0, receptor_tf_association=0.5, score=rng.random(len(chains))
        ),
        ligand_receptor=chains.drop(columns="tf").drop_duplicates(["sender", "receiver", "ligand"]).assign(
            ligand_mean=1.0, receptor_mean=1.0, score=1.0
        ),
        receptor_tf=chains[["receptor", "tf", "pvalue", "padj"]].drop_duplicates(["receptor", "tf"]).assign(
            lag=1, association=0.5
        ),
    )  # fmt: skip
    methods = ["scmagnify", "boosted_trees", "group_lasso", "ridge", "correlation", "random"]
    scores = pd.DataFrame({"method": methods, "auprc_ratio": rng.uniform(1, 5, len(methods))})
    put("network_scores", network_scores=scores.assign(
        truth="chip", prior_edges="only", n_true=900, n_universe=n, density=0.1, auprc=0.2, epr=2.0, epr_ceiling=10.0,
        sign_accuracy=None, lag_spearman=None, variant="canonical", auprc_z=3.0, epr_z=3.0, auprc_ratio_low=1.0,
        auprc_ratio_high=5.0, epr_low=1.0, epr_high=3.0, auprc_ratio_folds=2.0, epr_folds=2.0, preset="recommended",
        runtime_s=1.0, peak_memory_mib=500.0,
    ))  # fmt: skip
    put("raw_dataset", datasets=pd.DataFrame(
        {"file": ["/data/x.h5ad"], "sha256": "f" * 64, "size_bytes": 1, "files": "{}", "species": "mouse", "spec": "{}",
         "registered_at": pd.Timestamp("2026-01-01", tz="UTC")}
    ))  # fmt: skip


def _write_cells(put, rng: np.random.Generator, tfs: np.ndarray, genes: np.ndarray) -> None:
    cells = np.array([f"cell{i:05d}-1" for i in range(N_CELLS)])
    put(
        "dataset",
        cells=pd.DataFrame({
            "cell": cells, "pseudotime": rng.random(N_CELLS), "lineage": "erythroid",
            "cluster": [f"group {i}" for i in rng.integers(0, 8, N_CELLS)], "sample": None, "n_counts": 5e3,
            "embedding_1": rng.normal(size=N_CELLS), "embedding_2": rng.normal(size=N_CELLS),
        }),
        genes=pd.DataFrame({"gene": genes, "n_cells": 500, "mean_expression": 1.0, "is_highly_variable": True,
                            "is_eligible": True}),
    )  # fmt: skip
    factors = np.array([f"RF{i + 1}" for i in range(N_FACTORS)])

    def activity(column: str, of: np.ndarray) -> pd.DataFrame:
        n = N_CELLS * len(of)
        index = {"cell": pd.Categorical.from_codes(np.repeat(range(N_CELLS), len(of)), cells),
                 column: pd.Categorical.from_codes(np.tile(range(len(of)), N_CELLS), of)}  # fmt: skip
        return pd.DataFrame(index | {"activity": rng.normal(size=n), "pvalue": rng.random(n), "padj": rng.random(n)})

    put("tf_activity", tf_activity=activity("source", tfs))
    put("regfactor_activity", regfactor_activity=activity("regfactor", factors))
    parts = [("lag", [str(i + 1) for i in range(N_LAGS)]), ("source", tfs), ("target", genes)]
    loadings = pd.DataFrame([(f, mode, name) for f in factors for mode, of in parts for name in of],
                            columns=["regfactor", "mode", "name"])  # fmt: skip
    put(
        "regfactors",
        regfactors=pd.DataFrame({"regfactor": factors, "energy_share": 1 / N_FACTORS, "link_share": 0.5, "peak_lag": 1,
                                 "top_sources": "TF01", "top_targets": "G001", "n_supported": 1}),
        regfactor_loadings=loadings.assign(loading=rng.normal(size=len(loadings))),
        regfactor_components=pd.DataFrame({"mode": ["lag"], "component": 1, "name": "1", "loading": 1.0}),
        regfactor_core=pd.DataFrame({"lag_component": [1], "source_component": 1, "target_component": 1, "value": 1.0}),
    )  # fmt: skip


def _write_evidence(put, rng: np.random.Generator, tfs: np.ndarray, genes: np.ndarray) -> None:
    """Three links a peak, twenty motif hits a peak."""
    start = np.sort(rng.choice(200_000_000, N_PEAKS, replace=False))
    peaks = np.array([f"chr1:{s}-{s + 500}" for s in start])
    links = pd.DataFrame({"peak": np.repeat(peaks, 3), "target": rng.choice(genes, 3 * N_PEAKS)})
    links = pd.concat([links, pd.DataFrame({"peak": peaks[:5], "target": "G013"})]).drop_duplicates()
    put(
        "peak_gene_links",
        peak_gene_links=links.assign(kind="atac", distance_bp=1_000, correlation=0.3, zscore=2.0, pvalue=0.01,
                                     padj=0.05, is_linked=True),
        peaks=pd.DataFrame({"peak": peaks, "chrom": "chr1", "start": start, "end": start + 500, "n_cells": 100,
                            "gc_content": 0.5}),
    )  # fmt: skip
    motif = rng.integers(0, N_SOURCES, 20 * N_PEAKS)
    motif[:100] = np.arange(100) % N_SOURCES
    hits = pd.DataFrame({"peak": np.repeat(peaks, 20), "motif": [f"M{i:03d}" for i in motif],
                         "start": np.repeat(start, 20) + np.tile(range(20), N_PEAKS)})  # fmt: skip
    put(
        "tf_binding",
        tf_binding=hits.assign(end=hits["start"] + 10, strand="+", score=9.0, pvalue=rng.random(len(hits)) * 1e-4),
        motifs=pd.DataFrame({"motif": [f"M{i:03d}" for i in range(N_SOURCES)], "motif_name": tfs, "source": tfs,
                             "relation": "given", "width": 10, "threshold": 8.0, "n_hits": 1_000}),
    )  # fmt: skip


def questions() -> list[tuple[str, str]]:
    """Question and statement, in the order of the cookbook."""
    return re.findall(r"^### (.+?)\n.*?```sql\n(.+?)\n```", COOKBOOK.read_text(), re.MULTILINE | re.DOTALL)


def ask(lake: Lakehouse) -> None:
    """Time every question; write the result and the cookbook's table."""
    lake.create()  # its views may be of an earlier product
    started = time.perf_counter()
    connection = lake.connect()
    opened = time.perf_counter() - started
    rows = []
    for question, statement in questions():
        seconds = []
        for _ in range(REPEATS + 1):
            started = time.perf_counter()
            n_rows = lake.sql(statement, connection=connection).num_rows
            seconds.append(time.perf_counter() - started)
        # The lake's own records are small, and of all data sets.
        is_point = lake.rows_of_all_datasets(statement, connection=connection) < 100_000
        rows.append(
            {
                "question": question, "is_point": is_point, "n_rows": n_rows, "first_ms": 1e3 * seconds[0],
                "median_ms": 1e3 * statistics.median(seconds[1:]), "worst_ms": 1e3 * max(seconds[1:]),
            }
        )  # fmt: skip
        print(
            f"{rows[-1]['median_ms']:8.1f} ms  first {rows[-1]['first_ms']:8.1f}  {n_rows:6} rows  {question}",
            flush=True,
        )
    counted = ("seed_network", "edges", "tf_activity", "tf_binding")
    counts = ", ".join(f"(SELECT count(*) FROM {name}) AS {name}" for name in counted)
    sizes = lake.sql(f"SELECT {counts}", connection=connection).to_pylist()[0]
    sizes["bytes"] = sum(path.stat().st_size for path in lake.root.rglob("*") if path.is_file())
    command = "python benchmarks/queries.py ask LAKE"  # wherever that was
    save("queries", rows, command=command, lake=sizes, connect_ms=1e3 * opened)
    _write_page(rows, sizes, 1e3 * opened)


def _write_page(rows: list[dict], sizes: dict, connect_ms: float) -> None:
    lines = [
        f"Measured on a lake of {N_DATASETS} data sets x {N_SEEDS} seeds: {sizes['seed_network']:,} rows of seeds' "
        f"edges, {sizes['edges']:,} edges, {sizes['tf_activity']:,} activities, {sizes['tf_binding']:,} motif hits, "
        f"{sizes['bytes'] / 1e9:.1f} GB, on two cores of a shared machine (`python benchmarks/queries.py`). Median of "
        f"{REPEATS} on an open connection, which takes {connect_ms:.0f} ms to open; *first* is the first time a "
        "question was asked. A program that has attached `lake.duckdb` waits some 10 to 20 ms more for each table in a "
        "statement: it reads Delta's log first, where `scmagnify sql` and `open_lake()` know the files.",
        "",
        "| question | reads | ms | first, ms |",
        "|---|---|---|---|",
    ]
    for row in rows:
        reads = "one data set" if row["is_point"] else "all data sets"
        lines.append(f"| {row['question']} | {reads} | {row['median_ms']:.0f} | {row['first_ms']:.0f} |")
    head, title, _ = COOKBOOK.read_text().partition("## How long they take\n")
    COOKBOOK.write_text(head + title + "\n" + "\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["make", "ask"])
    parser.add_argument("lake", type=Path)
    arguments = parser.parse_args()
    lake = Lakehouse(arguments.lake)
    make(lake) if arguments.step == "make" else ask(lake)


if __name__ == "__main__":
    main()

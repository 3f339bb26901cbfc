"""Signalling cascades: which ligand of one cell group reaches which receptor of another, and which TF follows.

Three tables, each from the one before: ligand-receptor scores between cell groups, association of receptors with
later TFs along pseudotime, and their join. Reading resources from files, TF activities and figures live elsewhere.

Decisions
---------
* A ligand-receptor pair is tested as CellPhoneDB does: the labels of the cells are shuffled, the expression stays.
  That asks whether a pair is *specific* to two groups, not whether a signal is sent.
* A receptor and a TF are both smooth along pseudotime, so their bins are not exchangeable: shuffling bins calls
  half of all independent AR(1) pairs and up to 90 % of the smoother ones at a nominal 5 %. Instead, straight trends
  are removed and the null flips the signs of the receptor's cosine coefficients (DCT-II) at random. That keeps its
  power spectrum, hence its autocorrelation, and unlike Fourier phases or circular shifts it does not take the two
  ends of pseudotime for neighbours. Measured at 5 %, 1,000 pairs of 100 bins
  each: AR(1) 4-5 %, random walks 5 %, Gaussian processes 5 %, with quadratic trends 5-7 %, sigmoids 5 %.
* A cascade holds only if both of its parts hold, so its p-value is the larger one (intersection-union test).
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from scmagnify_core.data.dataset import Dataset
from scmagnify_core.errors import InputError, shorten
from scmagnify_core.numerics import surrogates as lagged
from scmagnify_core.numerics.statistics import adjust_pvalues, permutation_pvalues
from scmagnify_core.prior.base_network import rename_columns
from scmagnify_core.tables.catalogue import TABLES

Progress = Callable[[int, int, str], None]  # done, total, what


class CommunicationConfig(BaseModel):
    """Settings of ligand-receptor scores, receptor-TF association and cascades."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_permutations: int = Field(default=1000, ge=1, description="Permutations of each test.")
    min_share: float = Field(default=0.1, ge=0, le=1, description="Share of a group's cells that express a gene.")
    min_cells: int = Field(default=10, ge=1, description="Cells that a group must have.")
    n_bins: int = Field(default=100, ge=20, description="Bins of pseudotime, over all lineages together.")
    max_lag: int = Field(default=5, ge=0, description="Largest lag from receptor to TF, in bins.")
    signal: Literal["expression", "activity"] = Field(default="expression", description="What stands for a TF.")
    max_cascades: int = Field(default=500_000, ge=1, description="Cascades to keep, those of smallest p-value.")
    seed: int = Field(default=0, ge=0, description="Seed of the permutations.")


def communicate(
    dataset: Dataset,
    pairs: pd.DataFrame,
    receptor_tf: pd.DataFrame | None,
    config: CommunicationConfig,
    activity: pd.DataFrame | None = None,
    progress: Progress | None = None,
) -> dict[str, pd.DataFrame]:
    """Score ligand-receptor pairs, receptor-TF pairs and the cascades they form.

    Parameters
    ----------
    pairs, receptor_tf
        Resources with columns ligand and receptor, receptor and TF, in any case; other columns are ignored and
        rows that repeat count once. Without ``receptor_tf`` its table and that of the cascades are empty.
    activity
        Body of ``tf_activity``; what stands for a TF with ``signal = "activity"``.

    Returns
    -------
    Bodies of the tables ``ligand_receptor``, ``receptor_tf`` and ``communication_scores``.

    Raises
    ------
    InputError
        Cells have no group labels or fewer than two groups; a resource lacks a column or shares no gene with the
        data; activities are asked for and not given; pseudotime has too few cells for the lags.
    """
    groups = dataset.labels("cluster")
    if groups is None:
        raise InputError(
            "cluster_key", "the data set has no cell groups, between which communication is scored.",
            "Name the column of obs that holds them as cluster_key.",
        )  # fmt: skip
    measured = pd.Index(dataset.rna.var_names.astype(str))
    pairs = _resource(pairs, ("ligand", "receptor"), "ligand_receptor")
    pairs = _measured(pairs, {"ligand": measured, "receptor": measured}, "ligand_receptor")
    genes: list[str] = sorted(
        {gene for name in pd.unique(pairs.to_numpy().ravel()) for gene in _subunits(name, measured)}
    )
    matrix = sparse.csr_matrix(dataset.rna.X[:, measured.get_indexer(pd.Index(genes))])
    tables = {"ligand_receptor": ligand_receptor_scores(matrix, genes, groups, pairs, config, progress)}
    if receptor_tf is None:
        return tables | {name: _empty(name) for name in ("receptor_tf", "communication_scores")}

    links = _resource(receptor_tf, ("receptor", "tf"), "receptor_tf")
    # Only receptors that some ligand binds can end up in a cascade; testing others would cost power for nothing.
    bound = pd.Index([gene for name in pairs["receptor"].unique() for gene in _subunits(name, measured)]).unique()
    values = None  # TFs' signal as cell x source where it is not their expression
    if config.signal == "activity":
        if activity is None:
            raise InputError("signal", "is 'activity', but no TF activities were given.", "Set it to 'expression'.")
        values = activity.pivot(index="cell", columns="source", values="activity").reindex(dataset.cells.astype(str))
    links = _measured(
        links, {"receptor": measured, "tf": measured if values is None else values.columns}, "receptor_tf"
    )
    links = links[links["receptor"].isin(bound)]
    receptors, tfs = sorted(links["receptor"].unique()), sorted(links["tf"].unique())
    tables["receptor_tf"] = receptor_tf_association(
        dataset.expression(receptors), receptors,
        dataset.expression(tfs) if values is None else values[tfs].to_numpy(), tfs,
        dataset.pseudotime, links, config, dataset.labels("lineage"), progress,
    )  # fmt: skip
    tables["communication_scores"] = cascade(tables["ligand_receptor"], tables["receptor_tf"], config)
    return tables


def ligand_receptor_scores(
    expression: sparse.csr_matrix,
    genes: Sequence[str],
    groups: np.ndarray,
    pairs: pd.DataFrame,
    config: CommunicationConfig,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Score ligand-receptor pairs between cell groups and test how specific they are to the groups.

    The score is the mean expression of the ligand in the sender times that of the receptor in the receiver; a
    complex ``A_B`` has the mean of its scarcest subunit. Pairs are tested where ``min_share`` of the cells of both
    groups express them. Groups below ``min_cells`` and unlabelled cells take no part, nor in the permutations.

    Memory is bounded by blocks of 64 MB and the rows of the result. Deterministic for a given order of cells; the
    scores do not depend on that order.

    Parameters
    ----------
    expression
        Log-normalised, cell x gene.
    groups
        Label of each cell.
    pairs
        Columns ``ligand`` and ``receptor``; pairs with a gene that is not in ``genes`` are left out.

    Returns
    -------
    Body of ``ligand_receptor``. Adjusted over all rows.

    Raises
    ------
    InputError
        Fewer than two groups have enough cells.

    References
    ----------
    Efremova et al. (2020), Nat. Protoc. 15, 1484-1506.
    """
    labels, codes, keep = _group_codes(groups, config.min_cells)
    index = pd.Index([str(gene) for gene in genes])
    pairs = pairs[["ligand", "receptor"]].astype(str).drop_duplicates()
    units = sorted(set(pairs["ligand"]) | set(pairs["receptor"]))
    members = {unit: index.get_indexer(pd.Index(_subunits(unit, index))) for unit in units}
    units = [unit for unit in units if (members[unit] >= 0).all()]
    pairs = pairs[pairs["ligand"].isin(units) & pairs["receptor"].isin(units)].sort_values(["ligand", "receptor"])
    if pairs.empty:
        return _empty("ligand_receptor")

    used = np.unique(np.concatenate([members[unit] for unit in units]))
    matrix = sparse.csr_matrix(expression[keep][:, used], dtype=np.float32)
    # Subunits of each unit as columns of ``used``, padded with the first one, which does not change a minimum.
    widest = max(len(members[unit]) for unit in units)
    parts = np.stack([np.resize(np.searchsorted(used, members[unit]), widest) for unit in units])
    n_groups, n_units = len(labels), len(units)
    shares = _unit_means((matrix > 0).astype(np.float32), codes[None], n_groups, parts)[:, 0]
    values = matrix if matrix.shape[0] * matrix.shape[1] > 4 * lagged.BLOCK_VALUES else matrix.toarray()
    means = _unit_means(values, codes[None], n_groups, parts)[:, 0]

    position = pd.Index(units)
    ligand, receptor = (position.get_indexer(pairs[name]) for name in ("ligand", "receptor"))
    expressed = (shares >= config.min_share) & (means > 0)
    # One sender at a time, so that no grid of groups x groups x pairs is needed.
    found = [np.nonzero(expressed[:, receptor] & expressed[one, ligand]) for one in range(n_groups)]
    sender = np.repeat(np.arange(n_groups), [len(at[1]) for at in found])
    receiver, pair = (np.concatenate(column) for column in zip(*found, strict=True))
    if not len(pair):
        return _empty("ligand_receptor")
    at_ligand, at_receptor = sender * n_units + ligand[pair], receiver * n_units + receptor[pair]
    flat = means.reshape(-1)
    score = flat[at_ligand] * flat[at_receptor]

    rng = np.random.default_rng([config.seed, 0])
    n_at_least = np.zeros(len(score), dtype=np.int64)
    batch = int(np.clip(lagged.BLOCK_VALUES // (n_groups * max(len(codes), n_units)), 1, 128))
    threshold = score * (1 - 1e-5)  # sums in float32: a permutation that only rounds differently is a tie
    for start in range(0, config.n_permutations, batch):
        size = min(batch, config.n_permutations - start)
        shuffled = rng.permuted(np.broadcast_to(codes, (size, len(codes))), axis=1)
        null = np.ascontiguousarray(_unit_means(values, shuffled, n_groups, parts).transpose(0, 2, 1))
        _count_products(null.reshape(n_groups * n_units, size), at_ligand, at_receptor, threshold, n_at_least)
        if progress is not None:
            progress(start + size, config.n_permutations, "ligand-receptor permutations")
    pvalue = permutation_pvalues(n_at_least, config.n_permutations)
    return pd.DataFrame(
        {
            "sender": labels[sender],
            "receiver": labels[receiver],
            "ligand": pairs["ligand"].to_numpy()[pair],
            "receptor": pairs["receptor"].to_numpy()[pair],
            "ligand_mean": flat[at_ligand],
            "receptor_mean": flat[at_receptor],
            "score": score,
            "pvalue": pvalue,
            "padj": adjust_pvalues(pvalue),
        }
    )


def receptor_tf_association(
    receptor: Float[np.ndarray, "cell receptor"],
    receptor_names: Sequence[str],
    tf: Float[np.ndarray, "cell source"],
    tf_names: Sequence[str],
    pseudotime: Float[np.ndarray, " cell"],
    pairs: pd.DataFrame,
    config: CommunicationConfig,
    lineages: np.ndarray | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Associate receptors with TFs that follow them along pseudotime.

    Cells are averaged in equal-count bins along pseudotime, each lineage by itself. Of each binned series its
    straight trend per lineage is removed; the association at a lag is the correlation about zero of the receptor
    with the TF that many bins later, pooled over lineages. Reported is the lag of the largest absolute one, tested
    against the same maximum for receptors of random DCT signs (see the module's docstring). The same signs serve
    all pairs, so a p-value does not depend on which other pairs are tested.

    Pulses (one short bump each) are called too often, 10-12 % at a nominal 5 %. Planted signals of
    the simulation (1,500 cells): 35 % found at p <= 0.05, beside 6 % of decoys.

    Cost is pairs x permutations x bins x lags in float32, in blocks; memory beyond them TFs x lags x bins.

    Parameters
    ----------
    pairs
        Columns ``receptor`` and ``tf``; names that are not measured, or do not vary, are left out.
    lineages
        Lineage of each cell; lags never cross lineages. Unlabelled cells take no part.

    Returns
    -------
    Body of ``receptor_tf``, in order of receptor and TF. Adjusted over all rows.

    Raises
    ------
    InputError
        No lineage has enough cells for the lags.
    """
    weights, segments = lagged.bins(pseudotime, lineages, config.n_bins, config.max_lag)
    receptor_at, tf_at = pd.Index(receptor_names), pd.Index(tf_names)
    first, alive = lagged.binned(receptor, weights, segments)
    then, tf_alive = lagged.binned(tf, weights, segments)
    pairs = pairs[["receptor", "tf"]].astype(str).drop_duplicates().sort_values(["receptor", "tf"])
    pairs = pairs[
        pairs["receptor"].isin(receptor_at[alive]) & pairs["tf"].isin(tf_at[tf_alive])
        & (pairs["receptor"] != pairs["tf"])
    ].reset_index(drop=True)  # fmt: skip
    if pairs.empty:
        return _empty("receptor_tf")

    lag, association, n_at_least = lagged.largest_correlations(
        first, then, receptor_at.get_indexer(pd.Index(pairs["receptor"])), tf_at.get_indexer(pd.Index(pairs["tf"])),
        segments, config.max_lag, config.n_permutations, [config.seed, 1],
        None if progress is None else lambda done: progress(done, len(pairs), "receptor-TF pairs"),
    )  # fmt: skip
    pvalue = permutation_pvalues(n_at_least, config.n_permutations)
    return pairs.assign(lag=lag, association=association, pvalue=pvalue, padj=adjust_pvalues(pvalue))


def cascade(ligand_receptor: pd.DataFrame, receptor_tf: pd.DataFrame, config: CommunicationConfig) -> pd.DataFrame:
    """Join ligand-receptor pairs and receptor-TF pairs into cascades.

    Each part is ranked in its own table, by score and by absolute association, as a share in (0, 1] of its rows
    (ties share their mean rank). A cascade's score is the geometric mean of the two. A complex takes the TF
    association of the subunit with the smallest p-value, times the subunits that were tested (Bonferroni).

    Parameters
    ----------
    ligand_receptor, receptor_tf
        Bodies of these tables.

    Returns
    -------
    Body of ``communication_scores``, strongest first. Where there are more than ``max_cascades``, the ligand-receptor
    rows of the largest p-values are left out; they still count as tests when p-values are adjusted.
    """
    if ligand_receptor.empty or receptor_tf.empty:
        return _empty("communication_scores")
    links = receptor_tf.assign(strength=receptor_tf["association"].abs().rank(pct=True))
    names = ligand_receptor["receptor"].drop_duplicates()
    subunits = pd.DataFrame(
        [(name, gene) for name in names for gene in dict.fromkeys([name, *name.split("_")])],
        columns=["complex", "receptor"],
    )
    links = subunits.merge(links, on="receptor").sort_values(["pvalue", "strength"], ascending=[True, False])
    n_tested = links.groupby(["complex", "tf"])["pvalue"].transform("size")
    links = links.assign(pvalue=np.minimum(links["pvalue"] * n_tested, 1)).drop_duplicates(["complex", "tf"])

    signals = ligand_receptor.assign(strength=ligand_receptor["score"].rank(pct=True))
    n_partners = signals["receptor"].map(links["complex"].value_counts()).fillna(0).astype(np.int64)
    signals, n_partners = signals[n_partners > 0], n_partners[n_partners > 0]
    n_cascades = int(n_partners.sum())
    if not n_cascades:
        return _empty("communication_scores")
    if n_cascades > config.max_cascades:
        order = np.lexsort((-signals["score"].to_numpy(), signals["pvalue"].to_numpy()))
        fits = order[n_partners.to_numpy()[order].cumsum() <= config.max_cascades]
        signals = signals.iloc[fits if len(fits) else order[:1]]
    joined = signals.merge(
        links.drop(columns=["receptor", "padj"]), left_on="receptor", right_on="complex", suffixes=("", "_tf")
    )
    joined["ligand_receptor_score"], joined["receptor_tf_association"] = joined["score"], joined["association"]
    joined["score"] = np.sqrt(joined["strength"] * joined["strength_tf"])
    joined["pvalue"] = np.maximum(joined["pvalue"], joined["pvalue_tf"])
    # As if the rows left out had p = 1.
    joined["padj"] = np.minimum(adjust_pvalues(joined["pvalue"]) * (n_cascades / len(joined)), 1)
    columns = [column.name for column in TABLES["communication_scores"].body]
    joined = joined.sort_values(["score", "pvalue"], ascending=[False, True], kind="stable")
    return joined[columns].reset_index(drop=True)


def _empty(name: str) -> pd.DataFrame:
    columns = {column.name: column.dtype.to_pandas_dtype() for column in TABLES[name].body}
    return pd.DataFrame({column: pd.Series(dtype=dtype) for column, dtype in columns.items()})


def _subunits(name: str, measured: pd.Index) -> list[str]:
    """Genes of a complex; a name that is itself a gene is no complex, whatever it looks like."""
    return [name] if name in measured else name.split("_")


def _resource(frame: pd.DataFrame, names: tuple[str, str], where: str) -> pd.DataFrame:
    """Distinct pairs of names, sorted, as strings."""
    pairs = rename_columns(frame, names, where)[list(names)].dropna().drop_duplicates().astype(str)
    return pairs.sort_values(list(names)).reset_index(drop=True)


def _measured(pairs: pd.DataFrame, known: dict[str, pd.Index], where: str) -> pd.DataFrame:
    """Pairs of which every gene is in the data."""
    found = {
        column: [name for name in pairs[column].unique() if all(gene in genes for gene in _subunits(name, genes))]
        for column, genes in known.items()
    }
    keep = np.logical_and.reduce([pairs[column].isin(names) for column, names in found.items()])
    if not keep.any():
        counts = ", ".join(f"{len(names)} of {pairs[column].nunique()} {column}s" for column, names in found.items())
        data = "; ".join(shorten(genes, 3) for genes in known.values())
        raise InputError(
            where, f"no pair is measured ({counts} are). It names {shorten(np.unique(pairs), 3)}, the data {data}.",
            "Give a resource of the same species and the same kind of gene names as the data.",
        )  # fmt: skip
    return pairs[keep].reset_index(drop=True)


def _group_codes(groups: np.ndarray, min_cells: int) -> tuple[np.ndarray, Int[np.ndarray, " kept"], np.ndarray]:
    """Names of the groups that are large enough, the group of each of their cells, and which cells those are."""
    groups = np.asarray(groups).astype(str)
    names, sizes = np.unique(groups, return_counts=True)
    labels = names[(sizes >= min_cells) & (names != lagged.UNLABELLED)]
    if len(labels) < 2:
        raise InputError(
            "cluster_key", f"names {len(labels)} groups of at least {min_cells} cells ({shorten(names)}); "
            "communication needs two.", "Name another column as cluster_key, or lower min_cells.",
        )  # fmt: skip
    keep = np.isin(groups, labels)
    return labels, np.searchsorted(labels, groups[keep]), keep


def _unit_means(
    values: np.ndarray | sparse.csr_matrix, codes: Int[np.ndarray, "draw cell"], n_groups: int, parts: np.ndarray
) -> Float[np.ndarray, "group draw unit"]:
    """Mean per group of each gene or complex (unit x subunit columns), under each draw of the labels."""
    indicator = (codes == np.arange(n_groups)[:, None, None]).astype(np.float32)
    sizes = indicator[:, 0].sum(axis=1)
    means = np.asarray(indicator.reshape(-1, codes.shape[1]) @ values)
    units = means[:, parts[:, 0]]
    for column in parts.T[1:]:
        np.minimum(units, means[:, column], out=units)
    return units.reshape(n_groups, len(codes), -1) / sizes[:, None, None]


def _count_products(
    means: Float[np.ndarray, "unit draw"], left: np.ndarray, right: np.ndarray, least: np.ndarray, into: np.ndarray
) -> None:
    """Add to ``into`` how many draws' products reach the threshold, per row."""
    step = max(1, lagged.BLOCK_VALUES // (64 * means.shape[1]))  # 1 MiB: what does not fit the cache costs 2.5 times
    for start in range(0, len(left), step):
        rows = slice(start, start + step)
        into[rows] += (means[left[rows]] * means[right[rows]] >= least[rows, None]).sum(axis=1)

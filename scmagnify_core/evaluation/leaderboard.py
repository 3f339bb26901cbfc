"""One data set's network beside baselines and controls, under every question that a ground truth can answer.

The questions are kept apart because their answers differ: how much of the whole truth is ranked high (where the
prior does most of the work, as edges outside it score 0), how much is found beyond the prior (nothing, by
construction, for a model that is bound to the prior: the row is there to say so), and how well the candidates are
ordered.

`leaderboard` then compares methods over data sets. A data set counts once, whatever the number of its truths; methods
are ranked within each, so that one data set with large ratios does not decide; and the interval is over data sets, the
unit that a claim about methods is made for.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import special

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.errors import InputError
from scmagnify_core.evaluation.scores import score_network
from scmagnify_core.memory import PeakMemory
from scmagnify_core.methods.families import FAMILIES
from scmagnify_core.methods.family import Input, Inputs
from scmagnify_core.network.network import Network
from scmagnify_core.prior.base_network import read_table, rename_columns
from scmagnify_core.tables.catalogue import TABLES
from scmagnify_core.tables.network import NETWORKS

QUESTIONS: tuple[Mapping[str, str], ...] = (
    {"prior_edges": "kept"},
    {"prior_edges": "removed"},
    {"universe": "candidates"},
    {"variant": "deepsem"},
    {"variant": "beeline"},
)
SHUFFLED = "shuffled_prior"
EFFORT = ("runtime_s", "peak_memory_mib")
MOST_WORK = 2e12  # multiplications, some minutes: a baseline that takes more is left out


@dataclass(frozen=True)
class Ranking:
    """A method's edges, and what it took to rank them; NaN where that is not known, as of imported networks.

    ``edges`` has ``source, target, score``, and ``signed_score`` and ``lag`` where the method says something of them.
    ``peak_memory_mib`` is that of the process while the method ran, its inputs included.
    """

    method: str
    edges: pd.DataFrame
    runtime_s: float = float("nan")
    peak_memory_mib: float = float("nan")


def read_truth(path: Path) -> pd.DataFrame:
    """Read a ground truth: ``source, target`` under any usual name, and ``sign``, ``lag``, ``kind`` where present."""
    return rename_columns(read_table(path), ("source", "target"), f"'{path.name}'")


def rank_baselines(inputs: Inputs) -> Iterator[Ranking | str]:
    """Each baseline and each control; in place of one that is left out, a sentence that says why.

    Without operators there are no lags, and so no baselines on them.
    """
    size = inputs.size
    for family in FAMILIES.values():
        if family.role == "method" or (Input.LAGS in family.reads and inputs.operators is None):
            continue
        config = family.config()
        if (work := family.work(size, config)) > MOST_WORK:
            yield f"{family.name} was left out: it takes some {work:.0e} multiplications, more than {MOST_WORK:.0e}"
            continue
        start = time.perf_counter()
        try:
            with PeakMemory() as peak:
                network = family.read(family.fit(inputs, config, [0], _quiet)[0], inputs)
        except InputError as error:
            yield f"{family.name} was left out: {error}"
            continue
        assert isinstance(network, Network)
        yield Ranking(family.name, edges_of(network), time.perf_counter() - start, peak.mib)


def _quiet(done: int, total: int, detail: str) -> None:
    """Progress that nobody watches."""


def edges_of(network: Network) -> pd.DataFrame:
    """``source, target, score, signed_score, lag`` of a network; the lag is NaN where the method has none."""
    has_lag = network.n_lags > 1 or network.lag is not None
    return network.edge_names().assign(
        score=network.score(),
        signed_score=network.signed_score(),
        lag=network.estimated_lag() if has_lag else np.nan,
    )


def to_table(rankings: Iterable[Ranking]) -> pd.DataFrame:
    """Rankings as the body of the ``networks`` table; edges of equal score share a rank."""
    columns = [column.name for column in NETWORKS.body]
    frames = [
        one.edges.assign(
            method=one.method,
            context="all",
            rank=one.edges["score"].rank(method="min", ascending=False),
            **{name: getattr(one, name) for name in EFFORT},
        )
        for one in rankings
    ]
    if not frames:
        return pd.DataFrame(columns=columns)
    return pd.concat(frames, ignore_index=True).reindex(columns=columns).astype({"rank": np.int32})


def from_table(table: pd.DataFrame) -> list[Ranking]:
    """Rankings from the body of the ``networks`` table, by method."""
    return [
        Ranking(
            str(method),
            edges[["source", "target", "score", "signed_score", "lag"]],
            **{name: float(edges[name].iloc[0]) for name in EFFORT},
        )
        for method, edges in table.groupby("method", observed=True)
    ]


def score_methods(
    rankings: Iterable[Ranking],
    truth: pd.DataFrame,
    genes: Sequence[str],
    prior: PriorNetwork,
    preset: str | None = None,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Score networks, baselines and controls by the same measure.

    Parameters
    ----------
    rankings
        What is scored: the network, those made elsewhere, baselines and controls.
    genes
        All that were measured: the universe.
    preset
        Name for the ``preset`` column.

    Returns
    -------
    The body of the ``network_scores`` table, and notes on what was assumed or could not be asked.

    Raises
    ------
    InputError
        Not one question can be asked of this truth.
    """
    candidates = prior.to_table()
    frames: list[pd.DataFrame] = []
    notes: list[str] = []
    last = None
    for ranking in rankings:
        for question in QUESTIONS:
            if ranking.method == SHUFFLED and "universe" in question:
                continue  # its edges are others than the candidates
            try:
                scored = score_network(
                    ranking.edges,
                    truth,
                    genes=genes,
                    prior=candidates,
                    method=ranking.method,
                    **question,  # type: ignore[arg-type]
                )
            except InputError as error:
                last = error
                notes.append(str(error))
                continue
            notes += scored.attrs["notes"]
            scored.attrs = {}  # concat compares attrs, and these differ
            effort = {name: getattr(ranking, name) for name in EFFORT}
            frames.append(scored.assign(preset=preset, **effort))
        if not frames:  # what can be asked depends on the truth alone
            assert last is not None
            raise last
    return pd.concat(frames, ignore_index=True), tuple(dict.fromkeys(notes))


def leaderboard(scores: pd.DataFrame) -> pd.DataFrame:
    """Compare methods over data sets.

    Parameters
    ----------
    scores
        Table ``network_scores`` of several data sets, with column ``dataset``. Rows of other variants than the
        canonical one are left aside.

    Returns
    -------
    Body of the ``leaderboard`` table: a row for each preset, question, method, and kind of truth; in rows of truth
    ``all`` a data set counts with the mean over its kinds. Best mean rank first. The interval is that of Student's t
    over data sets, null for one data set.
    """
    scores = scores[scores["variant"].fillna("canonical") == "canonical"]  # an older product had no other
    scores = scores.assign(preset=scores["preset"].fillna("unknown"))
    question = ["dataset", "preset", "truth", "prior_edges"]
    ranked = scores.assign(mean_rank=scores.groupby(question)["auprc_ratio"].rank(ascending=False))
    figures = ["mean_rank", "auprc_ratio", "epr", *EFFORT]
    once = ranked.groupby(["dataset", "preset", "prior_edges", "method"], as_index=False)[figures].mean()
    rows = []
    keys = ["preset", "truth", "prior_edges", "method"]
    for key, group in pd.concat([ranked, once.assign(truth="all")]).groupby(keys):
        row = dict(zip(keys, key, strict=True)) | {"n_datasets": len(group), "mean_rank": group["mean_rank"].mean()}
        for name in ("auprc_ratio", "epr"):
            row[name] = group[name].mean()
            row[f"{name}_low"], row[f"{name}_high"] = _interval_of_mean(group[name].to_numpy(dtype=np.float64))
        rows.append(row | {name: group[name].median() for name in EFFORT})
    columns = [column.name for column in TABLES["leaderboard"].body]
    frame = pd.DataFrame(rows, columns=columns).astype({"n_datasets": np.int32})
    return frame.sort_values(["preset", "truth", "prior_edges", "mean_rank", "method"], ignore_index=True)


def _interval_of_mean(values: Float[np.ndarray, " dataset"]) -> tuple[float, float]:
    """95 % interval of the mean; NaN for a single value."""
    n = len(values)
    if n < 2:
        return float("nan"), float("nan")
    half = float(special.stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n))
    return float(values.mean()) - half, float(values.mean()) + half

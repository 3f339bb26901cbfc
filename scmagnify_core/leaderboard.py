"""One data set's network beside its controls, under every question that a ground truth can answer.

The questions are kept apart because their answers differ: how much of the whole truth is ranked high (where the
prior does most of the work, as edges outside it score 0), how much is found beyond the prior (nothing, by
construction, for a model that is bound to the prior: the row is there to say so), and how well the candidates are
ordered.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from scmagnify_core.dataset import Dataset
from scmagnify_core.errors import InputError
from scmagnify_core.evaluation import score_network
from scmagnify_core.methods.controls import correlation_network, prior_network, random_network
from scmagnify_core.prior import PriorNetwork
from scmagnify_core.prior.base_network import read_table, rename_columns

QUESTIONS = ({"prior_edges": "kept"}, {"prior_edges": "removed"}, {"universe": "candidates"})


def read_truth(path: Path) -> pd.DataFrame:
    """Read a ground truth: ``source, target`` under any usual name, and ``sign``, ``lag``, ``kind`` where present."""
    return rename_columns(read_table(path), ("source", "target"), f"'{path.name}'")


def rankings(dataset: Dataset, prior: PriorNetwork, edges: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The network and each control, by name."""
    candidates = prior.to_table()
    yield "scmagnify", edges
    yield "correlation", correlation_network(dataset.rna.X, list(dataset.genes), candidates)
    yield "prior", prior_network(candidates)
    yield "random", random_network(candidates)


def score_methods(
    dataset: Dataset, prior: PriorNetwork, edges: pd.DataFrame, truth: pd.DataFrame
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Score the network and its controls.

    Returns
    -------
    The body of the ``network_scores`` table, and notes on what was assumed or could not be asked.

    Raises
    ------
    InputError
        Not one question can be asked of this truth.
    """
    candidates = prior.to_table()
    frames, notes, last = [], [], None
    for name, ranking in rankings(dataset, prior, edges):
        for question in QUESTIONS:
            try:
                scored = score_network(ranking, truth, genes=dataset.genes, prior=candidates, method=name, **question)  # type: ignore[arg-type]
            except InputError as error:
                last = error
                notes.append(str(error))
                continue
            frames.append(scored)
            notes += scored.attrs["notes"]
    if not frames:
        assert last is not None
        raise last
    for frame in frames:
        frame.attrs = {}  # concat compares attrs, and these differ
    return pd.concat(frames, ignore_index=True), tuple(dict.fromkeys(notes))

"""The page: its sections in order, what each says where there is nothing to show, and the rendering.

Decisions
---------
* One file, no requests: figures, styles, script and Plotly are inlined, so that the page opens from a mail, without a
  network, in ten years.
* Nothing hangs on the script. Every interactive figure has a drawn one in its place, which is shown without JavaScript
  and in print.
* The same input gives the same bytes: no clock, no random names. The content hash of the stored page then tells
  whether it says anything new.
* Whatever comes from the data (names of genes, groups, files) is text: escaped by the template, and once more by the
  script before Plotly, which reads tags in its labels.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pandas as pd
from markupsafe import Markup

from scmagnify_core.plots import (
    plot_activity,
    plot_activity_on_embedding,
    plot_candidates,
    plot_cascades,
    plot_communication,
    plot_embedding,
    plot_history,
    plot_lag_heatmap,
    plot_lags,
    plot_neighbourhood,
    plot_ranking,
    plot_regfactor_card,
    plot_scores,
    plot_stability,
)
from scmagnify_core.report import provenance, summary
from scmagnify_core.report.figures import Drawing, draw
from scmagnify_core.report.inputs import ReportInput
from scmagnify_core.report.interactive import embedding_data, network_data

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_EDGES = 300
N_PRINTED = 60  # rows of the table of edges on paper
N_STILL = 6  # activities that are drawn where the chooser is not to be had
N_CHIPS = 8  # TFs that are a click away
TEMPLATE = "page.html.j2"
SCORE_COLUMNS = (
    "AUPRC ratio", "95 % over TFs", "early precision", "signs right", "lags", "seconds", "MiB",
)  # fmt: skip
EVIDENCE = {
    "motif_atac": "motif in peak", "motif_promoter": "motif in promoter", "imported": "imported",
    "curated": "curated", "all_pairs": "none",
}  # fmt: skip


def render_report(given: ReportInput) -> str:
    """The report of one data set as the text of an HTML file.

    Deterministic. Takes seconds and some hundred MB: mostly the drawing of a dozen figures.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_packaged(TEMPLATE))
    return template.render(_content(given))


def _content(given: ReportInput) -> dict[str, Any]:
    """Everything that the template writes, by the names that it uses."""
    draws = _Draws(given)
    network = network_data(given.edges)
    embedding = embedding_data(given.cells, given.tf_activity, given.regfactor_activity, given.edges)
    shown = [one for one in given.origins if one.is_shown]
    edges_of = next((one.materialization_id for one in shown if one.asset == "multiscale_network"), None)
    rows, scores = list(_edge_rows(given)), summary.score_rows(given.network_scores, given.method)
    filled = [place for place in range(len(SCORE_COLUMNS)) if any(row.numbers[place] for row in scores)]
    return {
        "name": given.name,
        "made_at": max((one.made_at for one in given.origins), default=None),
        "facts": summary.facts(given),
        "sentences": summary.sentences(given),
        "results": given.results,
        "has_network": given.method is not None,
        "method": given.method,
        "draws": draws,
        "network": network,
        "chips": [str(one) for one in summary.strongest_sources(given.edges, N_CHIPS)["source"]],
        "embedding": embedding,
        "choices": [(number, one["name"]) for number, one in enumerate(embedding["values"])],
        "rows": rows,
        "n_edges": len(given.edges),
        "n_printed": N_PRINTED,
        "n_seeds": len(given.histories),
        "lengths": sorted({len(history) for history in given.histories.values()}),
        "n_lags": given.multiscale_network["lag"].nunique(),
        "lag_step": provenance.setting_of(given.origins, "diffusion", "lag_step"),
        "species": next((one.parameters["species"] for one in given.origins if one.parameters.get("species")), None),
        "regfactors": list(given.regfactors.sort_values("energy_share", ascending=False).itertuples()),
        "n_supported": _n_supported(given.regfactors),
        "has_tf_activity": len(given.tf_activity) > 0,
        "has_regfactor_activity": len(given.regfactor_activity) > 0,
        "has_pairs": len(given.ligand_receptor) > 0,
        "has_cascades": len(given.communication_scores) > 0,
        "has_agreement": len(given.seed_agreement) > 0,
        "has_scores": len(given.network_scores) > 0,
        "verdicts": summary.verdicts(given.network_scores, given.method),
        "scores": [replace(row, numbers=[row.numbers[place] for place in filled]) for row in scores],
        "score_names": [SCORE_COLUMNS[place] for place in filled],
        "preset": provenance.preset_of(given.origins),
        "settings": provenance.differing_settings(given.origins),
        "files": provenance.used_files(given.origins),
        "packages": provenance.package_versions(given.origins),
        "codes": list(dict.fromkeys(one.code_version for one in given.origins)),
        "origins": given.origins,
        "query": provenance.edge_query(given.name, len(rows), edges_of),
        "data": Markup(_as_script({"network": network, "embedding": embedding})),
        "style": Markup(_packaged("page.css")),
        "script": Markup(_packaged("page.js")),
        "plotly": Markup(_plotly()),
        "stamp": _stamp,
    }


class _Draws:
    """The figures of the page, drawn when the template asks for them: a section left out costs nothing."""

    def __init__(self, given: ReportInput) -> None:
        self.given = given
        self.names = _names(given)
        self.strongest = [str(one) for one in summary.strongest_sources(given.edges, N_STILL)["source"]]

    def _draw(self, name: str, make: "Callable[[], Figure]", alt: str, caption: str = "") -> Drawing:
        return draw(name, make, alt, caption, self.names)

    def cells(self) -> Drawing:
        """Cells on their embedding."""
        return self._draw(
            "cells", lambda: plot_embedding(self.given.cells),
            "Cells on their two-dimensional embedding, coloured by pseudotime and, where known, by group.",
        )  # fmt: skip

    def candidates(self) -> Drawing:
        """What the prior allows."""
        return self._draw(
            "candidates", lambda: plot_candidates(self.given.prior_network),
            "Number of candidate TFs of each gene, TFs with most candidate targets, candidate edges by their evidence.",
        )  # fmt: skip

    def training(self) -> Drawing:
        """Loss curves."""
        return self._draw(
            "training", lambda: plot_history(self.given.histories),
            "Training loss over epochs, one line per seed, held-out loss dashed.",
        )  # fmt: skip

    def neighbourhood(self, gene: str) -> Drawing:
        """The network around one gene, in place of the interactive one."""
        return self._draw(
            "neighbourhood", lambda: plot_neighbourhood(self.given.edges, gene),
            f"Strongest regulators and targets of {gene}, by lag.",
            f"The network around {gene}. Opened in a browser with JavaScript, the page shows it for any gene.",
        )  # fmt: skip

    def ranking(self) -> Drawing:
        """TFs by their edges."""
        return self._draw(
            "ranking", lambda: plot_ranking(self.given.edges),
            "TFs by the summed score of their selected edges, and their number of targets.",
        )  # fmt: skip

    def lag_heatmap(self) -> Drawing:
        """TFs by lag."""
        return self._draw(
            "lag-heatmap", lambda: plot_lag_heatmap(self.given.multiscale_network),
            "Heat map of the strength of each TF at each lag, the earliest TF on top.",
        )  # fmt: skip

    def lags(self) -> Drawing:
        """How lags are distributed."""
        return self._draw(
            "lag-histogram", lambda: plot_lags(self.given.edges),
            "Histogram of the estimated lags of the selected edges, activating ones up, repressing ones down.",
        )  # fmt: skip

    def regfactor_card(self, number: int, name: str) -> Drawing:
        """One RegFactor."""
        given = self.given

        def untitled() -> "Figure":
            figure = plot_regfactor_card(name, given.regfactor_loadings, given.regfactor_activity, given.cells)
            figure.suptitle("")  # the page has a heading
            return figure

        return self._draw(
            f"regfactor-card-{number}",
            untitled,
            f"{name}: loadings of lags, TFs and targets, activity on the embedding and along pseudotime.",
        )

    def activity(self, name: str) -> Drawing:
        """Heat map of activities; ``name`` is ``source`` or ``regfactor``."""
        table = self.given.tf_activity if name == "source" else self.given.regfactor_activity
        return self._draw(
            f"activity-{name}", lambda: plot_activity(table, self.given.cells, name),
            "Heat map of mean activity over pseudotime, rows ordered by their peaks.",
        )  # fmt: skip

    def activity_on_embedding(self) -> Drawing:
        """The strongest TFs on the embedding, in place of the interactive figure."""
        known = set(self.given.tf_activity["source"].astype(str).unique())
        names = [one for one in self.strongest if one in known] or sorted(known)[:N_STILL]
        return self._draw(
            "activity-embedding",
            lambda: plot_activity_on_embedding(self.given.tf_activity, self.given.cells, names),
            f"Cells on their embedding, coloured by the activity of {', '.join(names)}.",
            "Opened in a browser with JavaScript, the page shows any RegFactor and the strongest TFs.",
        )

    def communication(self) -> Drawing:
        """Ligand-receptor pairs."""
        tables = {
            "ligand_receptor": self.given.ligand_receptor, "communication_scores": self.given.communication_scores,
        }  # fmt: skip
        return self._draw(
            "communication", lambda: plot_communication(tables),
            "Most specific ligand-receptor pairs between cell groups, and strongest cascades to TFs.",
        )  # fmt: skip

    def cascades(self) -> Drawing:
        """Cascades from ligand to target."""
        return self._draw(
            "cascades", lambda: plot_cascades(self.given.communication_scores, self.given.edges),
            "Strongest cascades as ribbons from ligand to receptor to TF to target.",
        )  # fmt: skip

    def stability(self) -> Drawing:
        """How far seeds agree."""
        return self._draw(
            "stability", lambda: plot_stability(self.given.edges, self.given.seed_agreement),
            "Spread of scores over seeds, share of seeds behind the selected edges, and overlap of each two seeds.",
        )  # fmt: skip

    def scores(self) -> Drawing:
        """The network beside baselines and controls."""
        scores = self.given.network_scores
        return self._draw(
            "scores", lambda: plot_scores(scores[scores["prior_edges"].isin(summary.ASKED)]),
            "AUPRC of the network, baselines and controls as multiples of that of a random order.",
            "“Prior edges only” is the order of the candidates, “prior edges kept” the whole truth.",
        )  # fmt: skip


def _names(given: ReportInput) -> list[str]:
    """Every name from the data that a figure may write."""
    columns = (
        (given.cells, ("cluster", "lineage", "sample")), (given.edges, ("source", "target")),
        (given.ligand_receptor, ("sender", "receiver", "ligand", "receptor")), (given.receptor_tf, ("tf",)),
        (given.network_scores, ("truth",)),
    )  # fmt: skip
    return [str(name) for table, keys in columns for key in keys for name in table[key].dropna().unique()]


@dataclass(frozen=True)
class EdgeRow:
    """A row of the table of edges: each number as it reads and as it sorts.

    ``is_kept`` is False for an edge that the model leaves out, so that a dense one ranks it.
    """

    rank: int
    source: str
    target: str
    sign: str
    numbers: tuple[tuple[str, float | None], ...]
    evidence: str
    is_kept: bool


def _n_supported(regfactors: pd.DataFrame) -> int | None:
    """How many RegFactors the network supports; None where their number was set, or by an older product."""
    known = regfactors["n_supported"].dropna().tolist() if "n_supported" in regfactors else []
    return int(known[0]) if known else None


def _edge_rows(given: ReportInput) -> Iterator[EdgeRow]:
    top = given.edges.sort_values(["rank", "source", "target"], kind="stable").head(N_EDGES)
    evidence = given.prior_network[["source", "target", "evidence", "n_peaks"]]
    rows: list[Mapping[str, Any]] = top.merge(evidence, on=["source", "target"], how="left").to_dict("records")  # type: ignore[assignment]
    for row in rows:
        numbers = (
            (row["score"], f"{row['score']:.3f}"), (row["lag"], f"{row['lag']:.1f}"),
            (row["pvalue"], _pvalue(row["pvalue"])), (row["padj"], _pvalue(row["padj"])),
            (row["stability"], f"{row['stability']:.0%}"),
        )  # fmt: skip
        yield EdgeRow(
            rank=int(row["rank"]),
            source=str(row["source"]),
            target=str(row["target"]),
            sign="activates" if row["signed_score"] >= 0 else "represses",
            numbers=tuple((text, None if pd.isna(value) else float(value)) for value, text in numbers),
            evidence=_evidence(row["evidence"], row["n_peaks"]),
            is_kept=pd.isna(row["has_weight"]) or bool(row["has_weight"]),
        )


def _pvalue(value: Any) -> str:
    return "–" if pd.isna(value) else f"{float(value):.2g}"


def _evidence(kinds: Any, n_peaks: Any) -> str:
    if pd.isna(kinds):
        return ""
    told = [EVIDENCE.get(kind, kind) for kind in str(kinds).split("+")]
    if not pd.isna(n_peaks) and n_peaks > 1:
        told = [f"{one}s (of {int(n_peaks)})" if one == "motif in peak" else one for one in told]
    return ", ".join(told)


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _as_script(value: Any) -> str:
    """JSON that can stand inside a ``script`` element, whatever its texts hold."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _packaged(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())

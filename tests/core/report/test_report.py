"""The report: what its numbers and sentences say, that names from the data stay text, and that it is one whole file."""

import base64
import json
import re
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from scmagnify_core.data.description import DataDescription
from scmagnify_core.report import Origin, ReportInput, render_report
from scmagnify_core.report.figures import MAX_SVG_BYTES, draw
from scmagnify_core.report.interactive import embedding_data, network_data
from scmagnify_core.report.page import SCORE_COLUMNS
from scmagnify_core.report.provenance import (
    differing_settings,
    edge_query,
    package_versions,
    preset_of,
    used_files,
)
from scmagnify_core.report.summary import facts, score_rows, sentences, strongest_sources, verdicts
from scmagnify_core.specification import DatasetSpec
from scmagnify_core.tables.catalogue import TABLES

N_CELLS, N_LAGS = 60, 3
SECTIONS = (
    "methods", "data", "training", "network", "edges", "lags", "regfactors", "activity", "communication", "stability",
    "scores", "provenance",
)  # fmt: skip
EVIL = (
    "<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "</script><b>", "a&b", "$\\frac$", "{{ 7*7 }}",
)  # fmt: skip


# The settings that each of these results is made with.
READS = defaultdict(tuple, {
    "dataset": tuple(DataDescription.model_fields), "prior_network": ("prior_network", "prior"),
    "diffusion_operators": ("diffusion",), "scmagnify_model": ("scmagnify",), "regfactors": ("regfactors",),
})  # fmt: skip


def body(name, rows):
    """Rows as a table's body, columns that are not given as nulls."""
    return pd.DataFrame(rows).reindex(columns=[column.name for column in TABLES[name].body])


def origin(asset, seed=None, is_shown=True, **parameters):
    spec = DatasetSpec.model_validate({"name": "small", "file": "/secret/place/small.h5mu"})
    return Origin(
        asset=asset, seed=seed, materialization_id=f"{asset}-{seed}", run_id=f"run-of-{asset}", code_version="1+abc",
        file_sha256="f" * 64, made_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        parameters=spec.parameters(READS[asset]) | parameters, packages={"numpy": "2.0"}, is_shown=is_shown,
    )  # fmt: skip


@pytest.fixture(scope="module")
def small():
    """A data set of 3 TFs and 8 targets, two seeds, everything there."""
    return make(("A", "B", "C"), tuple(f"g{i}" for i in range(8)), ("early", "late"))


def make(sources, targets, clusters, truth="chip"):
    rng = np.random.default_rng(0)
    cells = body("cells", {
        "cell": [f"c{i:03}" for i in range(N_CELLS)], "pseudotime": np.linspace(0, 1, N_CELLS),
        "lineage": None, "cluster": [clusters[i * len(clusters) // N_CELLS] for i in range(N_CELLS)], "sample": None,
        "n_counts": 1000.0, "embedding_1": np.linspace(-1, 1, N_CELLS), "embedding_2": rng.normal(size=N_CELLS),
    })  # fmt: skip
    genes = body("genes", {
        "gene": [*sources, *targets], "n_cells": 50, "mean_expression": 1.0, "is_highly_variable": True,
        "is_eligible": [True] * (len(sources) + len(targets) - 1) + [False],
    })  # fmt: skip
    pairs = [(source, target) for source in sources for target in targets]
    n_edges = len(pairs)
    signed = np.linspace(1, 0.01, n_edges) * np.where(np.arange(n_edges) % 3 == 2, -1, 1)
    both = {"source": [source for source, _ in pairs], "target": [target for _, target in pairs]}
    edges = body("edges", both | {
        "score": np.abs(signed), "signed_score": signed, "lag": 1 + 2 * rng.random(n_edges), "peak_lag": 1,
        "n_seeds": 2, "stability": 1.0, "sign_agreement": 1.0, "score_sd": 0.01, "rank": np.arange(1, n_edges + 1),
        "is_selected": np.arange(n_edges) < 6, "has_weight": np.arange(n_edges) < 12,
        "pvalue": np.geomspace(1e-9, 0.9, n_edges), "padj": np.geomspace(1e-8, 1, n_edges),
    })  # fmt: skip
    prior = body("prior_network", both | {
        "weight": 1.0, "evidence": ["motif_atac"] * (n_edges - 1) + ["imported"], "origin": "x", "n_peaks": 2,
    })  # fmt: skip
    lagged = pd.concat([edges.assign(lag=lag, weight=signed / lag) for lag in range(1, N_LAGS + 1)])
    multiscale = body("multiscale_network", lagged.assign(magnitude=lagged["weight"].abs(), weight_sd=0.0))
    history = body("training_history", {
        "epoch": range(1, 6), "loss": np.geomspace(1, 0.5, 5), "prediction_loss": 0.5, "sparsity": 0.1,
        "smoothness": 0.1, "validation_loss": np.geomspace(1.1, 0.6, 5), "learning_rate": 0.01,
    })  # fmt: skip
    names = {"lag": [str(lag) for lag in range(1, N_LAGS + 1)], "source": list(sources), "target": list(targets)}
    loadings = [
        {"regfactor": factor, "mode": mode, "name": name, "loading": rng.normal()}
        for factor in ("RF1", "RF2") for mode, those in names.items() for name in those
    ]  # fmt: skip
    factors = {"regfactor": ["RF1", "RF2"], "energy_share": [0.7, 0.3], "link_share": 0.9, "peak_lag": [1, 2]}
    factors |= {"n_supported": 1}

    def active(column, those):
        rows = [(cell, name) for name in those for cell in cells["cell"]]
        table = {"cell": [cell for cell, _ in rows], column: [name for _, name in rows]}
        return pd.DataFrame(table | {"activity": rng.normal(size=len(rows)), "pvalue": 0.5, "padj": 0.5})

    agreement = {"seed_a": [0], "seed_b": 1, "n_top": 6, "jaccard": 0.8, "spearman": 0.9}
    follows = {"receptor": targets[1], "tf": sources[0], "lag": 1, "association": 0.8}
    ratios = {"scmagnify": (3.0, 2.5, 3.5), "boosted_trees": (2.0, 1.5, 2.4), "random": (1.0, 0.9, 1.1)}
    pair = {"sender": clusters[0], "receiver": clusters[-1], "ligand": targets[0], "receptor": targets[1]}
    scored = {"score": [0.9], "pvalue": 0.01, "padj": 0.02}
    return ReportInput(
        name="small", cells=cells, genes=genes, prior_network=prior, histories={0: history, 1: history},
        multiscale_network=multiscale, edges=edges,
        seed_agreement=body("seed_agreement", agreement),
        regfactors=body("regfactors", factors | {"top_sources": "A", "top_targets": "g1"}),
        regfactor_loadings=body("regfactor_loadings", loadings),
        tf_activity=active("source", sources), regfactor_activity=active("regfactor", ("RF1", "RF2")),
        ligand_receptor=body("ligand_receptor", pair | scored | {"ligand_mean": 1.0, "receptor_mean": 1.0}),
        receptor_tf=body("receptor_tf", scored | follows),
        communication_scores=body("communication_scores", pair | scored | {
            "tf": sources[0], "lag": 1, "ligand_receptor_score": 0.9, "receptor_tf_association": 0.8,
        }),
        network_scores=scores_of(truth, **ratios),
        origins=(origin("raw_dataset", is_shown=False), origin("dataset", sha256={"file": "f" * 64}),
                 origin("multiscale_network")),
    )  # fmt: skip


def scores_of(truth="chip", **ratios):
    same = {"truth": truth, "prior_edges": "only", "n_true": 5, "n_universe": 24, "density": 0.2}
    same |= {"auprc": 0.5, "epr": 2.0, "epr_ceiling": 5.0, "variant": "canonical"}
    return body("network_scores", [
        same | {"method": method, "auprc_ratio": ratio, "auprc_ratio_low": low, "auprc_ratio_high": high}
        for method, (ratio, low, high) in ratios.items()
    ])  # fmt: skip


class Page(HTMLParser):
    """A page as a browser reads it: elements, their attributes, and the text outside of script and style."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.open = [], [], []
        self.scripts = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts[-1] += data
        elif "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))

    def of(self, tag):
        return [attributes for one, attributes in self.elements if one == tag]

    @property
    def data(self):
        (place,) = [number for number, one in enumerate(self.of("script")) if one.get("id") == "report-data"]
        return json.loads(self.scripts[place])


# ---------------------------------------------------------------- the page; drawing it takes seconds, so it is shared


@pytest.fixture(scope="module")
def text(small):
    return render_report(small)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_render_report_has_every_section_with_its_figures(page):
    assert [one["id"] for one in page.of("section")] == list(SECTIONS)
    assert page.of("title")
    assert not [one for one in page.of("p") if one.get("class") == "missing"]
    assert len(page.of("figure")) >= 14
    drawn = [one["aria-label"] for one in page.of("svg")] + [one["alt"] for one in page.of("img")]
    assert len(drawn) == len(page.of("figure"))
    assert all(drawn)  # each says what is to be seen
    for number in ("60", "11", "3 × 8", "24", "6"):
        assert number in page.text


def test_render_report_twice_is_the_same_to_the_byte(small, text):
    assert render_report(small) == text


def test_render_report_loads_nothing(page):
    places = [
        value for tag, attributes in page.elements for name, value in attributes.items()
        if name in ("src", "srcset", "action", "data", "poster") or (name in ("href", "xlink:href") and tag != "a")
    ]  # fmt: skip
    assert places
    assert all(place.startswith(("data:", "#")) for place in places)
    assert all(one["href"].startswith("#") for one in page.of("a"))
    style = files("scmagnify_core.report").joinpath("page.css").read_text(encoding="utf-8")
    assert "@import" not in style
    assert "url(" not in style


def test_render_report_names_no_part_twice(page):
    """Figures come with names of their own; two parts of one name would be one to a browser."""
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert {name for name in names if names.count(name) > 1} == set()


def test_render_report_labels_what_can_be_chosen(page):
    labelled = {one["for"] for one in page.of("label")}
    chosen = [one["id"] for tag in ("input", "select") for one in page.of(tag)]
    assert set(chosen) == labelled == {"gene", "search", "activity-name"}


def test_render_report_links_lead_to_sections(page):
    assert [one["href"] for one in page.of("a")] == [f"#{name}" for name in SECTIONS]


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (
            ("ligand_receptor", "communication_scores", "seed_agreement", "network_scores", "tf_activity"),
            ("set ligand_receptor", "set seeds = 3", "set truth", "No TF has enough targets"),
        ),
        (
            ("communication_scores", "regfactors", "regfactor_loadings", "regfactor_activity"),
            ("set receptor_tf", "was not decomposed", "No RegFactor has enough targets"),
        ),
    ],
)
def test_render_report_says_what_is_missing_and_what_to_set(small, tables, said):
    page = Page(render_report(replace(small, **{name: getattr(small, name).iloc[:0] for name in tables})))
    assert [one["id"] for one in page.of("section")] == list(SECTIONS)
    for sentence in said:
        assert sentence in page.text
    assert len([one for one in page.of("p") if one.get("class") == "missing"]) == len(said)


def test_render_report_of_next_to_nothing(small):
    """No cell groups, one seed of one epoch, one edge that nothing selects, and no evidence for it."""
    empty = (
        "seed_agreement", "regfactors", "regfactor_loadings", "tf_activity", "regfactor_activity", "ligand_receptor",
        "receptor_tf", "communication_scores", "network_scores",
    )  # fmt: skip
    given = replace(
        small,
        cells=small.cells.assign(cluster=None),
        edges=small.edges.head(1).assign(is_selected=False, pvalue=np.nan, padj=np.nan, n_seeds=1, has_weight=None),
        prior_network=small.prior_network.head(1).assign(evidence="all_pairs", n_peaks=np.nan),
        multiscale_network=small.multiscale_network.head(1),
        histories={0: small.histories[0].head(1)},
        origins=(),
        **{name: getattr(small, name).iloc[:0] for name in empty},
    )
    page = Page(render_report(given))
    assert "No TF has a selected edge." in page.text
    assert "nothing is known of the stability" in page.text


def test_render_report_keeps_names_from_the_data_text(page):
    """Names of the data set, of genes, groups and truths that would be markup, script, a formula or a template."""
    sources, targets = EVIL[:3], (*EVIL[3:], *(f"g{i}" for i in range(5)))
    given = replace(make(sources, targets, EVIL[:2], truth=EVIL[2]), name=EVIL[1])
    found = Page(render_report(given))
    # The same elements as of harmless names, but for those of figures, whose number hangs on what they write.
    for tag in ("script", "img", "b", "section", "option", "button", "tr", "td", "input", "title", "style", "svg"):
        assert len(found.of(tag)) == len(page.of(tag)), tag
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    for evil in EVIL:
        assert evil in "".join(found.words), evil
        assert found.data["network"]["genes"].count(evil) == 1


def test_the_template_is_in_the_package():
    for name in ("page.html.j2", "page.css", "page.js"):
        assert files("scmagnify_core.report").joinpath(name).is_file()


# ---------------------------------------------------------------- figures and sentences


def test_facts_count_the_tables(small):
    found = {fact.label: fact.value for fact in facts(small)}
    assert found["cells"] == "60"
    assert found["genes"] == "11"
    assert found["TFs × targets"] == "3 × 8"
    assert found["candidate edges"] == "24"
    assert found["selected edges"] == "6"
    assert found["edges at FDR ≤ 5%"] == str(int((small.edges["padj"] <= 0.05).sum()))
    assert found["agreement of seeds"] == "0.80"
    assert found["AUPRC ratio"] == "3.00"


def test_strongest_sources_sums_the_scores_of_selected_edges(small):
    edges = small.edges.assign(is_selected=lambda table: table["source"].isin(["B", "C"]) & (table["target"] == "g0"))
    found = strongest_sources(edges)
    score = edges.set_index(["source", "target"])["score"]
    assert found["source"].tolist() == ["B", "C"]
    assert found["score"].tolist() == [score["B", "g0"], score["C", "g0"]]


def test_sentences_say_when_no_edge_passes(small):
    weak = replace(small, edges=small.edges.assign(padj=0.9))
    assert "a list of hypotheses" in " ".join(sentences(weak))
    assert "a list of hypotheses" not in " ".join(sentences(small))


@pytest.mark.parametrize(("jaccard", "word"), [(0.9, "well"), (0.5, "in part"), (0.1, "poorly")])
def test_sentences_weigh_the_agreement_of_seeds(small, jaccard, word):
    said = " ".join(sentences(replace(small, seed_agreement=small.seed_agreement.assign(jaccard=jaccard))))
    assert f"agree {word}" in said
    assert ("more of the seed than of the cells" in said) == (word == "poorly")


@pytest.mark.parametrize(
    ("own", "rival", "said"),
    [
        ((3.0, 2.5, 3.5), (2.0, 1.5, 2.4), "The best baseline, boosted trees on the same lags, reaches 2.00"),
        ((3.0, 2.5, 3.5), (2.0, 1.5, 2.4), "do not overlap"),
        ((3.0, 2.0, 4.0), (2.5, 1.5, 3.5), "the difference may be chance"),
        ((2.0, 1.5, 2.4), (3.0, 2.5, 3.5), "A baseline does better"),
        ((2.0, 1.5, 2.4), (2.0, 1.5, 2.4), "A baseline does as well"),
        ((1.1, 0.9, 1.4), (1.0, 0.8, 1.3), "cannot be told from chance"),
        ((3.0, np.nan, np.nan), (2.0, np.nan, np.nan), "no interval to weigh the difference by"),
    ],
)
def test_verdicts_tell_leads_from_losses_and_chance(own, rival, said):
    (verdict,) = verdicts(scores_of(scmagnify=own, boosted_trees=rival, random=(9.0, 8.0, 10.0)))
    assert said in verdict


def test_verdicts_look_at_the_candidates_and_our_own_definition_only():
    other = scores_of(scmagnify=(9.0, 8.0, 10.0))
    assert verdicts(other.assign(prior_edges="kept")) == []
    assert verdicts(other.assign(variant="beeline")) == []
    assert len(verdicts(other.assign(variant=None))) == 1
    assert verdicts(other.iloc[:0]) == []


def test_sentences_sum_up_several_truths_and_say_where_a_baseline_is_ahead(small):
    ahead = {"scmagnify": (3.0, 2.5, 3.5), "ridge": (2.0, 1.5, 2.4)}
    behind = {"scmagnify": (1.1, 0.9, 1.4), "ridge": (2.0, 1.5, 2.4)}
    both = pd.concat([scores_of("chip", **ahead), scores_of("string", **behind)])
    said = sentences(replace(small, network_scores=both))[-1]
    assert "1.10 to 3.00 times that of a random order; against 1 of them it cannot be told from chance." in said
    assert said.endswith("In 1 of them it is ahead of every baseline.")
    lost = pd.concat([scores_of("chip", **behind), scores_of("string", **behind)])
    said = sentences(replace(small, network_scores=lost))[-1]
    assert said.endswith("In none of them is it ahead of every baseline.")
    (tile,) = [fact for fact in facts(replace(small, network_scores=both)) if fact.label == "AUPRC ratio"]
    assert (tile.value, tile.note) == ("1.10 to 3.00", "2 ground truths; 1 is a random order")


def test_score_rows_put_the_best_first_and_tell_controls_from_baselines():
    rows = score_rows(scores_of(random=(1.0, 0.9, 1.1), ridge=(2.0, 1.5, 2.4), scmagnify=(3.0, 2.5, 3.5)))
    assert [(row.method, row.kind) for row in rows] == [
        ("scmagnify", "this network"), ("ridge", "baseline"), ("random", "control"),
    ]  # fmt: skip
    assert rows[0].numbers[:2] == ("3.00", "2.50 to 3.50")
    assert rows[0].numbers[3] == ""  # no signs in this truth
    told = scores_of(ridge=(2.0, 1.5, 2.4)).assign(runtime_s=3.456, peak_memory_mib=1234.5)
    assert score_rows(told)[0].numbers[-2:] == ("3.46", "1,234")
    assert len(rows[0].numbers) == len(SCORE_COLUMNS)


# ---------------------------------------------------------------- what the choosers draw from


def test_network_data_holds_the_strongest_edges_of_every_gene():
    rng = np.random.default_rng(1)
    pairs = [(f"T{i}", f"g{j}") for i in range(30) for j in range(60)]
    edges = pd.DataFrame(pairs, columns=["source", "target"])
    edges["score"] = rng.permutation(len(edges)) / len(edges)
    edges = edges.assign(signed_score=-edges["score"], lag=1.5, stability=1.0, pvalue=np.nan, padj=0.04)
    edges["is_selected"] = True
    edges["rank"] = edges["score"].rank(ascending=False).astype(int)
    found = network_data(edges)
    names = found["genes"]
    held = {(names[s], names[t]) for s, t in zip(found["source"], found["target"], strict=True)}
    for side, n_top in (("source", 20), ("target", 15)):
        best = edges.sort_values("score", ascending=False).groupby(side).head(n_top)
        assert set(zip(best["source"], best["target"], strict=True)) <= held
    assert found["rank"] == sorted(found["rank"])
    assert found["n_out"][names.index("T3")] == 60
    assert found["n_in"][names.index("g3")] == 30
    assert set(found["p"]) == {None}  # JSON has no NaN
    json.dumps(found, allow_nan=False)


def unpacked(packed):
    codes = np.frombuffer(base64.b64decode(packed["data"]), dtype=f"<u{packed['bytes']}")
    return packed["low"] + (packed["high"] - packed["low"]) * codes / (256 ** packed["bytes"] - 1)


def test_embedding_data_gives_back_places_and_activities(small):
    found = embedding_data(small.cells, small.tf_activity, small.regfactor_activity, small.edges)
    np.testing.assert_allclose(unpacked(found["x"]), small.cells["embedding_1"], atol=1e-3)
    np.testing.assert_allclose(unpacked(found["time"]), small.cells["pseudotime"], atol=1e-3)
    assert [(one["kind"], one["name"]) for one in found["values"]][:2] == [("RegFactor", "RF1"), ("RegFactor", "RF2")]
    (own,) = [one for one in found["values"] if one["name"] == "A"]
    wanted = small.tf_activity.query("source == 'A'").set_index("cell")["activity"].reindex(small.cells["cell"])
    step = (own["high"] - own["low"]) / 255
    np.testing.assert_allclose(unpacked(own), wanted.clip(own["low"], own["high"]), atol=step)
    assert own["low"] == -own["high"]  # 0 is in the middle of the colours
    assert found["groups"]["names"] == ["early", "late"]
    assert found["lineages"] is None
    (line,) = own["trend"]
    assert np.mean(line["mean"]) == pytest.approx(wanted.mean(), abs=0.02)


def test_embedding_data_samples_cells_but_not_their_means(monkeypatch, small):
    from scmagnify_core.report import interactive

    whole = embedding_data(small.cells, small.tf_activity, small.regfactor_activity, small.edges)
    monkeypatch.setattr(interactive, "MAX_CELLS", 20)
    monkeypatch.setattr(interactive, "MAX_NAMES", 4)
    some = embedding_data(small.cells, small.tf_activity, small.regfactor_activity, small.edges)
    assert (some["n_shown"], some["n_cells"]) == (20, 60)
    assert len(unpacked(some["x"])) == len(some["groups"]["codes"]) == 20
    assert [one["name"] for one in some["values"]] == [one["name"] for one in whole["values"]][:4]
    assert [one["trend"] for one in some["values"]] == [one["trend"] for one in whole["values"]][:4]


def test_embedding_data_has_a_line_per_lineage(small):
    cells = small.cells.assign(lineage=["left", "right"] * (N_CELLS // 2 - 1) + [None, "tiny"])
    found = embedding_data(cells, small.tf_activity, small.regfactor_activity, small.edges)
    # Of "tiny" there is one cell.
    assert [line["lineage"] for line in found["values"][0]["trend"]] == ["left", "right"]
    assert found["lineages"]["codes"][-2] == -1


# ---------------------------------------------------------------- figures


def test_draw_gives_text_as_text_and_names_of_its_own():
    from scmagnify_core.plots.style import new_figure

    def make():
        figure, (axis,) = new_figure()
        axis.set_title("$x$ and <y>")
        axis.plot([0, 1], [0, 1])
        return figure

    first, again = (draw(name, make, "a line", names=["$x$"]) for name in ("one", "two"))
    assert "$x$ and &lt;y&gt;" in first.content
    assert re.findall(r'id="(\w+)', first.content)
    assert not set(re.findall(r'id="([^"]+)', first.content)) & set(re.findall(r'id="([^"]+)', again.content))
    defined = set(re.findall(r'id="([^"]+)"', first.content))
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', first.content))
    assert used <= defined


def test_draw_takes_pixels_where_there_are_many_dots():
    from scmagnify_core.plots.style import new_figure

    def make():
        figure, (axis,) = new_figure()
        axis.scatter(*np.random.default_rng(0).normal(size=(2, 5000)))
        return figure

    drawing = draw("dots", make, "dots")
    assert drawing.content.startswith('<img src="data:image/png;base64,')
    assert len(drawing.content) < MAX_SVG_BYTES
    assert drawing == draw("dots", make, "dots")


# ---------------------------------------------------------------- provenance


def test_differing_settings_are_those_that_the_preset_has_otherwise():
    assert differing_settings([origin("dataset"), origin("diffusion_operators"), origin("regfactors")]) == []
    spec = DatasetSpec.model_validate({
        "name": "x", "file": "x", "scmagnify": {"n_lags": 3}, "regfactors": {"rank": [1, 2, 2]}, "min_cells": 7,
    })  # fmt: skip
    assets = ("dataset", "scmagnify_model", "regfactors")
    made = [replace(origin(asset), parameters=spec.parameters(READS[asset])) for asset in assets]
    found = {one.key: (one.value, one.preset) for one in differing_settings(made)}
    assert found["scmagnify.n_lags"] == ("3", "5")
    assert found["min_cells"] == ("7", "10")
    assert found["regfactors.rank"][0] == "[1, 2, 2]"
    assert set(found) == {"scmagnify.n_lags", "min_cells", "regfactors.rank"}


def test_differing_settings_are_of_the_preset_that_was_used():
    spec = DatasetSpec.model_validate({"name": "x", "file": "x", "preset": "published"})
    made = replace(origin("scmagnify_model"), parameters=spec.parameters(READS["scmagnify_model"]))
    assert differing_settings([made]) == []
    assert preset_of([made]) == "published"
    assert preset_of([made, origin("dataset")]) == "published, recommended"


def test_differing_settings_of_another_version_are_told():
    odd = replace(origin("network"), parameters={"preset": "recommended", "network": {"gone": 1}})
    (found,) = differing_settings([odd])
    assert (found.key, found.value, found.preset) == ("network.gone", "1", None)


def test_used_files_are_named_without_their_folders():
    made = [
        origin("prior_network", prior=["/secret/a.csv", "/secret/b.csv"], references={"genome": "/secret/g.fa"},
               sha256={"prior": "a", "prior.2": "b", "references.genome": "c"}),
        origin("dataset", sha256={"file": "d"}),
        origin("raw_dataset", sha256={"file": "e"}),
    ]  # fmt: skip
    assert [(one.key, one.name, one.sha256) for one in used_files(made)] == [
        ("file", "small.h5mu", "d"), ("prior", "a.csv", "a"), ("prior.2", "b.csv", "b"),
        ("references.genome", "g.fa", "c"),
    ]  # fmt: skip


def test_the_page_tells_where_everything_came_from(text, page):
    assert "secret" not in text
    for wanted in ("run-of-dataset", "multiscale_network-None", "f" * 64, "1+abc", "numpy 2.0", "2026-01-02 03:04"):
        assert wanted in page.text, wanted
    query = edge_query("small", 24, "multiscale_network-None")
    assert re.sub(r"\s+", " ", query) in page.text


def test_package_versions_names_all_that_were_used():
    several = [origin("dataset"), replace(origin("regfactors"), packages={"numpy": "2.1", "torch": "2.13"})]
    assert package_versions(several) == {"numpy": "2.0, 2.1", "torch": "2.13"}

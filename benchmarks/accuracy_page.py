"""Tables and charts of docs/accuracy.md, from the results that `accuracy.py` keeps in docs/benchmarks.

python benchmarks/accuracy_page.py
"""

import json
from typing import Any

import numpy as np
import pandas as pd
from record import FOLDER
from scipy import stats

from scmagnify_core.plots.style import COLORS, new_figure

PAGE = FOLDER.parent / "accuracy.md"
NAMES = {
    "scmagnify": "**scMagnify, default**",
    "group_lasso": "group lasso on the same lags",
    "ridge": "ridge on the same lags",
    "boosted_trees": "boosted trees on the same lags",
    "lagged_correlation": "correlation at the best lag",
    "correlation": "correlation",
    "spearman": "rank correlation",
    "published preset": "scMagnify, published preset",
    "published, no filter": "scMagnify, published preset without its filter",
    "random": "random",
    "oracle": "oracle (noise-free past of the TFs)",
}
PUBLISHED = ("published preset", "published, no filter")
RIVALS = [name for name in NAMES if name not in ("scmagnify", *PUBLISHED, "oracle", "random")]


def kept(name: str) -> pd.DataFrame | None:
    path = FOLDER / f"accuracy_{name}.json"
    return pd.DataFrame(json.loads(path.read_text())["results"]) if path.exists() else None


def put(name: str, text: str) -> None:
    page = PAGE.read_text()
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, rest = page.split(begin)
    _, tail = rest.split(end)
    PAGE.write_text(f"{head}{begin}\n{text}\n{end}{tail}")


def table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def number(value: float, digits: int = 2) -> str:
    return "" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def published(ratios: pd.Series) -> str:
    """The published preset, and without its filter; empty where it was not run."""
    with_filter, without = (ratios.get(name, np.nan) for name in PUBLISHED)
    return f"{number(with_filter)} ({number(without)})" if np.isfinite(with_filter) else ""


def interval(values: np.ndarray) -> str:
    """Mean and its 95 % interval (Student's t)."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return number(values.mean()) if len(values) else ""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.2f} ({values.mean() - half:.2f} to {values.mean() + half:.2f})"


def simulated_page(frame: pd.DataFrame) -> None:
    figures = {name: frame.pivot_table(index="set", columns="method", values=name) for name in ("auprc_ratio", "epr")}
    others = {name: frame.pivot_table(index="set", columns="method", values=name) for name in
              ("sign_accuracy_top", "lag_spearman_top", "lag_spearman")}  # fmt: skip
    rows = []
    ours = {name: figures[name]["scmagnify"] for name in figures}
    for method, label in NAMES.items():
        if method not in figures["auprc_ratio"]:
            continue
        cells = []
        for name in ("auprc_ratio", "epr"):
            own = figures[name][method].dropna()
            cells.append(number(own.mean()))
            is_rival = method not in ("scmagnify", "oracle")
            cells.append(interval((ours[name][own.index] - own).to_numpy()) if is_rival else "")
        for name in others:
            values = others[name].get(method)
            cells.append("" if values is None else number(values.mean()))
        rows.append([label, int(figures["auprc_ratio"][method].notna().sum()), *cells])
    head = [
        "method", "networks", "AUPRC ratio", "ours more by", "EPR", "ours more by", "signs", "lags of found edges",
        "lags of all",
    ]  # fmt: skip
    put("simulated", table(head, rows))

    rows = []
    for condition, group in frame.groupby("condition", sort=False):
        means = group.groupby("method")["auprc_ratio"].mean()
        epr = group.groupby("method")["epr"].mean()
        best = means[[one for one in RIVALS if one in means]].idxmax()
        state = group.loc[group["method"] == "scmagnify", "state_dependent"].mean()
        lag, of_all = group.loc[group["method"] == "scmagnify", ["lag_spearman_top", "lag_spearman"]].mean()
        rows.append([
            condition, number(means["scmagnify"]), f"{number(means[best])} ({best.replace('_', ' ')})",
            published(means), number(means["oracle"]), f"{means['scmagnify'] / means['oracle']:.0%}",
            number(epr["scmagnify"]), number(epr[[one for one in RIVALS if one in epr]].max()), number(lag),
            number(of_all), f"{state:.0%}",
        ])  # fmt: skip
    head = [
        "condition", "ours", "best baseline", "published preset (no filter)", "oracle", "share of the oracle",
        "our EPR", "best baseline's EPR", "our lags of found edges", "of all", "seeds with cells' own coefficients",
    ]  # fmt: skip
    put("conditions", table(head, rows))
    chart(figures["auprc_ratio"])


def chart(ratios: pd.DataFrame) -> None:
    methods = [one for one in NAMES if one in ratios and one != "oracle"]
    methods.sort(key=lambda one: ratios[one].mean())
    figure, (axis,) = new_figure(7, 3.6)
    for row, method in enumerate(methods):
        values = ratios[method].dropna()
        color = COLORS[0] if method == "scmagnify" else "0.6"
        axis.barh(row, values.mean(), color=color, alpha=0.85)
        axis.plot(values, np.full(len(values), row), "o", color="black", markersize=2.5, alpha=0.6)
    axis.axvline(1, color="0.3", linewidth=0.8, linestyle=":")
    axis.set_yticks(range(len(methods)), [NAMES[one].strip("*") for one in methods])
    axis.set_xlabel("AUPRC ratio to random (bar: mean, dots: networks)")
    figure.savefig(FOLDER.parent / "accuracy.png", dpi=150)


def real_page(frame: pd.DataFrame) -> None:
    rows = []
    for (name, truth), group in frame.groupby(["set", "truth"], sort=False):
        one = group.set_index("method")
        low, high = one.loc["scmagnify", ["auprc_ratio_low", "auprc_ratio_high"]]
        best = one.loc[[m for m in RIVALS if m in one.index], "auprc_ratio"].idxmax()
        span = f" ({low:.2f} to {high:.2f})" if np.isfinite(low) else ""
        ours = number(one.loc["scmagnify", "auprc_ratio"]) + span
        rows.append([
            name.split("/")[1], truth, int(one.loc["scmagnify", "n_true"]), ours,
            f"{number(one.loc[best, 'auprc_ratio'])} ({best.replace('_', ' ')})", published(one["auprc_ratio"]),
            number(one.loc["scmagnify", "epr"]),
            number(one.loc[[m for m in RIVALS if m in one.index], "epr"].max()),
            number(one.loc["scmagnify", "epr_ceiling"]),
        ])  # fmt: skip
    head = [
        "set", "truth", "true edges", "ours (interval over TFs)", "best baseline of the row",
        "published preset (no filter)", "our EPR", "best EPR of a baseline", "highest possible EPR",
    ]  # fmt: skip
    put("real", table(head, rows))
    ratio, epr = (frame.pivot_table(index=["set", "truth"], columns="method", values=name)
                  for name in ("auprc_ratio", "epr"))  # fmt: skip
    summary = []
    for method in [one for one in NAMES if one in ratio]:
        # A set counts once, whatever the number of its truths; of ours the truths that the other has been scored on.
        own, other = (ratio.loc[ratio[method].notna(), one].groupby("set").mean() for one in ("scmagnify", method))
        margin = "" if method == "scmagnify" else interval((own - other).to_numpy())
        early = epr.loc[ratio[method].notna(), method].groupby("set").mean()
        is_measured = ~other.index.str.startswith("synthetic/")
        alone = [number(one[is_measured].mean()) for one in (other, early)]
        summary.append([NAMES[method], len(other), number(other.mean()), margin, number(early.mean()), *alone])
    head = [
        "method",
        "sets",
        "mean AUPRC ratio",
        "ours more by",
        "mean EPR",
        "AUPRC ratio, measured sets",
        "EPR, measured sets",
    ]
    put("real mean", table(head, summary))


def ablation_page(frame: pd.DataFrame) -> None:
    ratio = frame.pivot_table(index="method", columns="set", values="auprc_ratio", sort=False)
    epr = frame.groupby("method")["epr"].mean()
    lag = frame.groupby("method")["lag_spearman"].mean()
    rows = [
        [name, *(number(value) for value in ratio.loc[name]), number(ratio.loc[name].mean()), number(epr[name]),
         number(lag[name])]
        for name in ratio.index
    ]  # fmt: skip
    put("ablation", table(["choice", *ratio.columns, "mean", "EPR", "lags"], rows))


def stability_page(frame: pd.DataFrame) -> None:
    shown = frame.pivot_table(index="what", columns="preset", values="jaccard", sort=False, dropna=False)
    asked = set(zip(frame["what"], frame["preset"], strict=True))
    rows = [
        [what, *("no edges" if pd.isna(value) and (what, preset) in asked else number(value)
                 for preset, value in shown.loc[what].items())]
        for what in shown.index
    ]  # fmt: skip
    put("stability", table(["top tenth of the edges, Jaccard index of", *shown.columns], rows))


def calibration_page(frame: pd.DataFrame) -> None:
    rows = [
        [one.pairs, f"{one.n:,}", f"{one.below_05:.1%}", f"{one.below_01:.1%}", f"{one.below_001:.2%}"]
        for one in frame.itertuples()
    ]
    put("calibration", table(["pairs", "number", "p < .05", "p < .01", "p < .001"], rows))
    figure, axes = new_figure(8, 2.4, len(frame))
    titles = {"unrelated": "TFs and targets of different data", "decoys": "decoys", "planted": "planted edges"}
    for axis, one in zip(axes, frame.itertuples(), strict=True):
        edges = np.linspace(0, 1, len(one.histogram) + 1)
        axis.stairs(one.histogram, edges, fill=True, color=COLORS[0], alpha=0.8)
        axis.axhline(1 / len(one.histogram), color="0.3", linewidth=0.8, linestyle=":")
        axis.set(title=titles[one.pairs], xlabel="p-value", xlim=(0, 1))
        axis.title.set_fontsize(9)
        axis.set_ylim(0, 0.5)
    axes[0].set_ylabel("share of edges")
    figure.savefig(FOLDER.parent / "edge_calibration.png", dpi=150)


def main() -> None:
    pages = {
        "simulated": simulated_page, "real": real_page, "ablation": ablation_page, "stability": stability_page,
        "calibration": calibration_page,
    }  # fmt: skip
    for name, fill in pages.items():
        frame = kept(name)
        if name in ("simulated", "real") and frame is not None and (more := kept("published")) is not None:
            frame = pd.concat([frame, more[more["set"].isin(frame["set"])]], ignore_index=True)
        print(f"{name}: {'no results kept' if frame is None else f'{len(frame)} rows'}")
        if frame is not None:
            fill(frame)


if __name__ == "__main__":
    main()

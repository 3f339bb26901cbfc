"""Speed and memory beside the public package 0.1.1, as a table and a chart.

    python benchmarks/table.py                       # from the results kept in docs/benchmarks
    python benchmarks/table.py --measure             # measure our side anew first: about 20 minutes on two cores
    python benchmarks/table.py --measure --public    # and the public package, in an environment of its own

Writes this and smaller tables into docs/benchmarks.md between their markers, and docs/benchmarks.png. Each result names
its command, machine and versions in its JSON.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from record import FOLDER

HERE = Path(__file__).parent
PAGE = FOLDER.parent / "benchmarks.md"
CHART = FOLDER.parent / "benchmarks.png"
OURS = (
    ["layouts.py"], ["seeds.py"], ["large.py"], ["large.py", "--density", "0.03"], ["diffusion.py"],
    ["diffusion.py", "--neighbors"], ["aggregation.py"], ["communication.py"], ["profile_demo.py"],
)  # fmt: skip
SETTINGS = "published penalties"


def kept(name: str) -> Any:
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def training(size: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The public package and ours, trained with the published penalties on the same cells."""
    entry = kept("public")["sizes"][size]
    return entry["public"], entry["ours"][SETTINGS]


def training_row(size: str, label: str, target: str) -> tuple[str, ...]:
    """CPU-seconds to the public package's best held-out error, or to its best of the few epochs that were run."""
    public, ours = training(size)
    theirs = f"{public['cpu_s_to_best']:,.0f} CPU-s to held-out error {public['best_held_out_mse']:.3f}"
    if "extrapolated" in public:
        hours = public["extrapolated"]["cpu_hours_to_best"]
        theirs += f" ({public['epochs']} epochs; to its best about {hours:.1f} h, extrapolated)"
    if ours["cpu_s_to_bar"] is None:
        error, their_s, our_s = to_common_error(size)
        reached = f"**does not reach it**: best {error:.3f} after {our_s:.1f} s, its end after {ours['cpu_s']:.1f} s"
        ratio = f"**{their_s / our_s:,.0f} times less** to {error:.3f}, public after {their_s:,.0f} s"
        return label, theirs, reached, ratio, target
    reached = (
        f"{ours['cpu_s_to_bar']:.1f} CPU-s to the same error; best {ours['best_held_out_mse']:.3f} after "
        f"{ours['cpu_s_to_best']:.1f} s, its end after {ours['cpu_s']:.1f} s"
    )
    ratio = f"**{public['cpu_s_to_best'] / ours['cpu_s_to_bar']:,.0f} times less**"
    if "extrapolated" in public:
        ratio += f" to its error after {public['epochs']} epochs; to its best: not measured"
    return label, theirs, reached, ratio, target


def to_common_error(size: str) -> tuple[float, float, float]:
    """The lowest held-out error that both sides reach, and the CPU-seconds of each."""
    public, ours = training(size)
    if ours["cpu_s_to_bar"] is not None:
        return public["best_held_out_mse"], public["cpu_s_to_best"], ours["cpu_s_to_bar"]
    error = ours["best_held_out_mse"]
    theirs = next(row["cpu_s"] for row in public["trajectory"] if row["held_out_mse"] <= error)
    return error, theirs, ours["cpu_s_to_best"]


def rows() -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [
        training_row("S", "training, 1,000 cells x 20 TFs x 200 targets, 30 % candidates", "30 times less"),
        training_row("M", "training, 3,000 x 50 x 500, 30 %", "100 times less"),
    ]
    public = kept("public")["sizes"]["L"]["public"]
    for density in ("0.3", "0.03"):
        if large := kept(f"large_{density}"):
            theirs = f"{public['extrapolated']['cpu_hours_to_best']:.0f} h of training (extrapolated)"
            table.append(
                (
                    f"whole method, 10,000 x 100 x 1,000, {float(density):.0%}, one seed",
                    theirs if density == "0.3" else "",
                    f"{large['wall_s'] / 60:.1f} min ({large['cpu_s'] / 60:.1f} CPU-min), {large['peak_gib']:.1f} GiB",
                    "", "15 min, 4 GB",
                )
            )  # fmt: skip
    if seeds := kept("seeds"):
        units = seeds["in_units_of_one_seed"]
        table.append(("five seeds, in units of one seed's time", "5", f"{units:.2f} on two cores", "", "under 2.5"))
    diffusion = {(row["cells"], row["graph"], row["lagged_in"]): row for row in (kept("diffusion") or {})["rows"]}
    row = diffusion[100_000, "from components", "memory"]
    table.append(
        (
            "diffusion operators, 100,000 cells x 100 TFs x 5 lags from PCs", "over 50 GB at 50,000 cells",
            f"{row['wall_s']:.0f} s, {row['peak_gb']:.1f} GB", "", "3 min, 4 GB",
        )
    )  # fmt: skip
    scaling = [diffusion[cells, "given", "memory"] for cells in (10_000, 100_000, 1_000_000)]
    table.append(
        (
            "1,000,000 cells, graph given", "does not run",
            f"{scaling[-1]['wall_s']:.0f} s, {scaling[-1]['peak_gb']:.1f} GB; CPU-us a cell at 10k, 100k, 1M: "
            + ", ".join(f"{one['cpu_us_per_cell']:.0f}" for one in scaling),
            "", "20 GB, linear",
        )
    )  # fmt: skip
    row = kept("aggregation")["results"][0]
    table.append(
        (
            "exact medians, 10,000 cells x 30,000 edges x 5 lags", "40 GB array",
            f"{row['cpu_s']:.0f} CPU-s, {row['peak_gib']:.1f} GiB", "", "60 s, 2 GB",
        )
    )  # fmt: skip
    communication = kept("communication")["results"]
    table.append(
        (
            "communication, 5,000 pairs x 1,000 permutations x 200 bins", "loops",
            f"receptor-TF {communication[0]['cpu_s']:.1f} to {communication[2]['cpu_s']:.1f} CPU-s, "
            f"ligand-receptor {communication[3]['cpu_s']:.1f}",
            "", "5 s",
        )
    )  # fmt: skip
    steps = kept("layouts")
    fused = next(row for row in steps["results"] if row["layout"] == "fused")
    table.append(
        (
            "share of the processor's matrix-product rate in a training step", "",
            f"{fused['share_of_matrix_product']:.0%} of {steps['matrix_product_gflops']:.0f} GFLOP/s", "", "40 %",
        )
    )  # fmt: skip
    return table


def layouts() -> list[tuple[str, ...]]:
    """One training step, laid out in several ways."""
    return [
        (row["layout"], f"{row['ms']:.0f} ms", f"{row['gflops']:.0f}", f"{row['share_of_matrix_product']:.0%}")
        for row in kept("layouts")["results"]
    ]


def neighbors() -> list[tuple[str, ...]]:
    """Searches for the neighbours of 100,000 cells."""
    installed = [row for row in kept("diffusion")["neighbors"] if row["cpu_s"] is not None]
    found = sorted(installed, key=lambda row: row["cpu_s"])
    return [(row["search"], f"{row['cpu_s']:.0f}", f"{row['recall']:.3f}") for row in found]


def profile() -> list[tuple[str, ...]]:
    """Seconds of each asset of the demo's graph."""
    names = ("work", "imports", "load", "store", "checks", "start", "rest")
    return [(row["asset"], *(f"{row[name]:.1f}" for name in names)) for row in kept("profile_demo")["results"]]


def markdown(header: str, table: list[tuple[str, ...]]) -> str:
    columns = tuple(header.split(", "))
    lines = [columns, ("---",) * len(columns), *table]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def fill(page: str, name: str, text: str) -> str:
    """The page with what stands between the markers of a name replaced."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}"


def chart(path: Path) -> None:
    """CPU-seconds of training beside the public package, and held-out error over time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    bars, curves = figure.subplots(1, 2)
    labels = ["1,000 cells x 20 TFs\nx 200 targets", "3,000 x 50 x 500"]
    for place, size in enumerate(("S", "M")):
        error, theirs, own = to_common_error(size)
        labels[place] += f"\n(error {error:.3f})"
        for shift, value, colour in ((-0.2, theirs, "#999999"), (0.2, own, "#1f77b4")):
            bars.bar(place + shift, value, 0.38, color=colour)
            bars.text(place + shift, value * 1.15, f"{value:,.1f} s", ha="center", fontsize=8)
    bars.set(
        yscale="log", xticks=[0, 1], xticklabels=labels, ylabel="CPU-seconds, one thread", ylim=(0.3, 3e3),
        title="Training to the lowest held-out error that both reach",
    )  # fmt: skip
    bars.title.set_fontsize(9)
    public, ours = training("S")
    for side, name, colour in ((public, "scmagnify 0.1.1", "#999999"), (ours, "this platform", "#1f77b4")):
        seconds = [row["cpu_s"] for row in side["trajectory"]]
        curves.plot(seconds, [row["held_out_mse"] for row in side["trajectory"]], color=colour, label=name)
    curves.set(xscale="log", xlabel="CPU-seconds, one thread", ylabel="squared error on held-out cells")
    curves.set_title("1,000 cells x 20 TFs x 200 targets", fontsize=9)
    curves.legend(frameon=False)
    for axes in (bars, curves):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure our side anew")
    parser.add_argument("--public", action="store_true", help="with --measure: the public package, too")
    arguments = parser.parse_args()
    if arguments.measure:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        side = [] if arguments.public else ["--side", "ours"]
        for command in (*OURS, ["public/run.py", *side]):
            print("+", *command, flush=True)
            subprocess.run([sys.executable, HERE / command[0], *command[1:]], check=True, env=environment)
    page = PAGE.read_text()
    for name, text in {
        "table": markdown("what, public 0.1.1, ours, ratio, target", rows()),
        "layouts": markdown("layout, a step, GFLOP/s, share", layouts()),
        "neighbours": markdown("search, CPU-s, recall", neighbors()),
        "profile": markdown("asset, work, imports, load, store, checks, start, rest", profile()),
    }.items():
        print(f"{text}\n")
        page = fill(page, name, text)
    PAGE.write_text(page)
    chart(CHART)

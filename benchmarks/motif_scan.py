"""Speed and memory of the motif scan, beside MOODS and memelite's FIMO on the same input, one thread each.

    python benchmarks/motif_scan.py --motifs JASPAR.meme.gz --peers PYTHON SEQUENCES.fa [SEQUENCES.fa ...]
    python benchmarks/motif_scan.py --motifs JASPAR.meme.gz --regions 20000      # random regions: seconds and memory

The unit is motif-bases per second: sum over motifs of sequence bases x width of the motif x 2 strands, divided by the
seconds from matrices and sequences in memory (FIMO: in a file, as it wants them) to hits in memory, thresholds
included; the fastest of five repeats after a warm-up. All use a uniform background, pseudocount 1e-4 and p <= 5e-5.
Motifs too short for that p-value count as work for all (ours searches their best word, MOODS lets it through by
rounding, FIMO does not find it); a second line leaves them out.

PYTHON is that of another environment with ``MOODS-python`` (GPL, hence apart), ``memelite`` and ``numpy``.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

MAX_PVALUE, PSEUDOCOUNT, REPEATS = 5e-5, 1e-4, 5


def prepare_ours(motifs: dict[str, list[list[float]]], sequences: dict[str, str]) -> Callable[[], int]:
    from scmagnify_core.prior.motifs import Motif
    from scmagnify_core.prior.tf_binding import TFBindingConfig, scan_sequences

    collection = [Motif(name, name, np.array(values), None) for name, values in motifs.items()]
    config = TFBindingConfig(max_pvalue=MAX_PVALUE, pseudocount=PSEUDOCOUNT)
    return lambda: len(scan_sequences(list(sequences), list(sequences.values()), collection, config).hits)


def prepare_moods(motifs: dict[str, list[list[float]]], sequences: dict[str, str]) -> Callable[[], int]:
    import MOODS.scan
    import MOODS.tools

    background = MOODS.tools.flat_bg(4)
    odds = []
    for values in motifs.values():
        raised = np.array(values) + PSEUDOCOUNT
        odds.append(np.log2(raised / raised.sum(axis=1, keepdims=True) / 0.25).T.tolist())

    def scan() -> int:
        strands = odds + [MOODS.tools.reverse_complement(matrix) for matrix in odds]
        thresholds = [MOODS.tools.threshold_from_p(matrix, background, MAX_PVALUE) for matrix in strands]
        scanner = MOODS.scan.Scanner(7)
        scanner.set_motifs(strands, background, thresholds)
        return sum(len(hits) for sequence in sequences.values() for hits in scanner.scan(sequence))

    return scan


def prepare_fimo(motifs: dict[str, list[list[float]]], sequences: dict[str, str]) -> Callable[[], int]:
    from memelite import fimo

    matrices = {name: np.array(values).T for name, values in motifs.items()}
    file = Path(tempfile.mkdtemp()) / "sequences.fa"
    file.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in sequences.items()))
    # The bins of its p-values stay at 0.1 bit, its default and its fastest.
    return lambda: sum(
        len(hits)
        for hits in fimo(matrices, str(file), eps=PSEUDOCOUNT, threshold=MAX_PVALUE, reverse_complement=True)
    )


PREPARE = {"ours": prepare_ours, "moods": prepare_moods, "fimo": prepare_fimo}


def measure(tool: str, file: Path) -> None:
    """Runs in a process of its own, possibly of another environment: prints hits, seconds and MiB."""
    given = json.loads(file.read_text())
    name, sequence = next(iter(given["sequences"].items()))
    PREPARE[tool](given["motifs"], {name: sequence})()  # imports and memelite's compilation stay outside the timing
    scan = PREPARE[tool](given["motifs"], given["sequences"])
    seconds = []
    for _ in range(given["repeats"]):
        start = time.perf_counter()
        n_hits = scan()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"hits": n_hits, "seconds": min(seconds), "mib": peak}))


def run(python: str, tool: str, motifs: dict, sequences: dict[str, str], repeats: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "input.json")
        file.write_text(json.dumps({"motifs": motifs, "sequences": sequences, "repeats": repeats}))
        threads = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        command = [python, str(Path(__file__).resolve()), "--tool", tool, str(file)]
        done = subprocess.run(command, env=os.environ | threads, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def report(label: str, motifs: dict, sequences: dict[str, str], tools: dict[str, str], repeats: int) -> None:
    bases = sum(map(len, sequences.values()))
    work = bases * sum(map(len, motifs.values())) * 2
    print(f"{label}: {len(motifs)} motifs, {len(sequences)} sequences, {bases:,} bases, {work:.3g} motif-bases")
    for tool, python in tools.items():
        got = run(python, tool, motifs, sequences, repeats)
        print(
            f"  {tool:6s} {got['seconds']:9.3f} s  {work / got['seconds'] / 1e9:8.2f} G motif-bases/s  "
            f"{got['hits']:>10,} hits  {got['mib']:7.0f} MiB",
            flush=True,
        )


def read_fasta(file: Path) -> dict[str, str]:
    """Stretches of known bases: the tools differ in how they treat N, which is not the matter here."""
    records = [record.split("\n", 1) for record in file.read_text().split(">")[1:]]
    return {
        f"{file.stem}:{head.split()[0]}:{i}": piece
        for head, body in records
        for i, piece in enumerate(re.findall("[ACGT]+", body.replace("\n", "").upper()))
    }


def main() -> None:
    from scmagnify_core.prior.motifs import read_motifs
    from scmagnify_core.prior.tf_binding import score_matrix, score_tail

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sequences", type=Path, nargs="*", help="FASTA files, searched together")
    parser.add_argument("--motifs", type=Path, required=True, help="motif collection")
    parser.add_argument("--peers", help="Python that has MOODS-python and memelite; without it only ours is run")
    parser.add_argument("--regions", type=int, help="instead of files: so many random regions of 500 bp")
    arguments = parser.parse_args()

    motifs = {motif.motif: motif.probabilities.tolist() for motif in read_motifs(arguments.motifs)}
    tools = {"ours": sys.executable} | (dict.fromkeys(("moods", "fimo"), arguments.peers) if arguments.peers else {})
    if arguments.regions:
        rng = np.random.default_rng(0)
        sequences = {
            f"r{i}": np.frombuffer(b"ACGT", dtype=np.uint8)[rng.integers(0, 4, 500)].tobytes().decode()
            for i in range(arguments.regions)
        }
        report("random regions", motifs, sequences, tools, 1)
        return
    sequences = {name: body for file in arguments.sequences for name, body in read_fasta(file).items()}
    report("all motifs", motifs, sequences, tools, REPEATS)
    uniform = np.full(4, 0.25)
    reachable = {
        name: values
        for name, values in motifs.items()
        if len(score_tail(score_matrix(np.array(values), uniform, PSEUDOCOUNT), uniform, MAX_PVALUE))
    }
    report("motifs that can be found", reachable, sequences, tools, REPEATS)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--tool"]:
        measure(sys.argv[2], Path(sys.argv[3]))
    else:
        main()

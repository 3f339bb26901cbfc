"""Where TFs may bind: a motif scan of sequences on both strands, with exact p-values.

Decisions
---------
* Scores are log-odds in bits, rounded per position and base to 1/512 bit (:data:`STEP`). Everything then follows
  without further rounding. Sums of such numbers are exact in single precision, so the vectorised scanner (lightmotif)
  finds just the positions that integers would; the distribution of the score under the background is
  counted on the same integers, so thresholds and p-values are exact for the rounded matrix. A motif of width w is off
  its unrounded score by at most w/1024 bit, much less than the error of any motif.
* The threshold of a motif is the lowest score whose p-value does not exceed ``max_pvalue``. For a short motif there is
  none: at 5e-5 even the best word of seven bases is too likely (6e-5), which loses 199 of the 879 motifs of JASPAR
  2024, GATA1 among them. Such a motif is searched for its best word alone if that is rarer than ``max_pvalue_short``;
  the p-value beside each hit tells, and a note says how many. Other tools let these words through by their rounding.
* The background is the same on both strands: A and T, and C and G, share their frequency. Hence a motif has one
  threshold for both strands, and reading the other strand only mirrors the hits.
* A window with an unknown base is never a hit. Sequences are joined by one N, so no hit spans two of them.
* Sequences are searched in chunks of some million bases and hits are kept in compact columns: memory follows the number
  of hits (about 30 bytes each) and the sequences, not motifs x positions.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from pydantic import BaseModel, Field

from scmagnify_core.errors import InputError, shorten
from scmagnify_core.prior.genome import Genome
from scmagnify_core.prior.motifs import Motif

STEP = 2.0**-9  # bits; a power of two, for exact sums
TILTS = np.geomspace(0.05, 4, 12)  # where the Chernoff bound is tried, 1/bit
BLOCK = 128  # rows that lightmotif tests at once; its default of 256 is a tenth slower here
CHUNK = 4_000_000  # bases searched at once: few calls, yet small beside the hits
TO_ACGTN = bytes(ord(letter) if (letter := chr(i).upper()) in "ACGT" else ord("N") for i in range(256))


class TFBindingConfig(BaseModel, frozen=True, extra="forbid"):
    """When a position counts as a motif hit."""

    max_pvalue: float = Field(
        5e-5, gt=0, le=1, description="A position is a hit if background reaches its score with at most this chance."
    )
    max_pvalue_short: float = Field(
        2.5e-4, ge=0, le=1,
        description="A motif too short for max_pvalue is searched for its best word, if that has at most this chance.",
    )  # fmt: skip
    pseudocount: float = Field(
        1e-4, ge=1e-9, description="Added to every probability of a motif before the logarithm."
    )
    background: Literal["uniform", "regions"] = Field(
        "uniform", description="Base frequencies to compare with: a quarter each, or those of the searched regions."
    )


@dataclass(frozen=True)
class TFBinding:
    """Motif hits.

    ``hits`` has ``peak`` and ``motif`` (categories, in the order given), ``start``, ``end`` (0-based, half-open),
    ``strand`` (category), ``score`` (bits, float32) and ``pvalue``, sorted by peak, start, motif, strand. ``motifs``
    has one row per motif: ``motif``, ``width``, ``threshold`` (above the best score if nothing can be a hit) and
    ``n_hits``.
    """

    hits: pd.DataFrame
    motifs: pd.DataFrame
    notes: tuple[str, ...]


def no_progress(done: int, total: int, detail: str) -> None:
    """Report nothing."""


def scan_regions(
    regions: pd.DataFrame,
    genome: Genome,
    motifs: Sequence[Motif],
    config: TFBindingConfig,
    progress: Callable[[int, int, str], None] = no_progress,
) -> TFBinding:
    """Search regions of a genome; hits have positions on the chromosome.

    Parameters
    ----------
    regions
        Frame with ``peak`` (unique), ``chrom``, ``start``, ``end``.

    Raises
    ------
    PriorError
        Regions and genome do not fit; see :meth:`Genome.sequences`.
    """
    sequences = genome.sequences(regions)
    found = scan_sequences(regions["peak"].tolist(), sequences, motifs, config, progress)
    hits = found.hits
    offset = regions["start"].to_numpy(dtype=np.int64)[hits["peak"].cat.codes]
    hits["start"] += offset
    hits["end"] += offset
    notes = list(found.notes)
    if n_absent := sum(not sequence for sequence in sequences):
        notes.append(f"{n_absent} of {len(regions)} regions are on chromosomes that the genome file lacks: no hits.")
    return replace(found, notes=tuple(notes))


def scan_sequences(
    names: Sequence[str],
    sequences: Sequence[str],
    motifs: Sequence[Motif],
    config: TFBindingConfig,
    progress: Callable[[int, int, str], None] = no_progress,
    chunk: int = CHUNK,
) -> TFBinding:
    """Search sequences; hits have positions within their sequence.

    Parameters
    ----------
    names
        Name of each sequence, unique: the ``peak`` of its hits.
    sequences
        Bases in either case. Letters other than A, C, G and T are unknown bases.
    progress
        Called with the sequences done, their number, and what was found.
    chunk
        Bases to search at once; the result does not depend on it.

    Raises
    ------
    InputError
        There is no motif or no sequence, or, with the background of the regions, no base to count.
    ValueError
        Names repeat, or there are not as many as sequences.
    """
    if len(names) != len(sequences) or len(set(names)) != len(names):
        raise ValueError("each sequence needs a name of its own")
    if not motifs:
        raise InputError(
            "motifs", "there is none to search.", "Give a motif collection whose TFs are in the data set."
        )
    if not names:
        raise InputError("regions", "there is none to search.", "Give peaks, or genes with promoters.")
    background = np.full(4, 0.25) if config.background == "uniform" else base_frequencies(sequences)
    scanners = [_Scanner(motif, background, config) for motif in motifs]
    parts: list[tuple[np.ndarray, ...]] = []
    n_hits = 0
    for first, last in _chunks(sequences, chunk):
        part = _scan_chunk(sequences[first:last], scanners)
        parts.append((part[0] + np.int32(first), *part[1:]))
        n_hits += len(part[0])
        progress(last, len(sequences), f"{n_hits:,} hits of {len(motifs)} motifs")

    peak, motif, start, strand, score, pvalue = (np.concatenate(column) for column in zip(*parts, strict=True))
    del parts
    widths = np.array([scanner.width for scanner in scanners])
    hits = pd.DataFrame(
        {
            "peak": pd.Categorical.from_codes(peak, categories=pd.Index(names)),
            "motif": pd.Categorical.from_codes(motif, categories=pd.Index([one.motif for one in motifs])),
            "start": start,
            "end": start + widths[motif],
            "strand": pd.Categorical.from_codes(strand, categories=pd.Index(["+", "-"])),
            "score": score,
            "pvalue": pvalue,
        },
        copy=False,
    )
    table = pd.DataFrame(
        {
            "motif": [one.motif for one in motifs],
            "width": widths.astype(np.int16),
            "threshold": np.array([scanner.threshold for scanner in scanners], dtype=np.float32),
            "n_hits": np.bincount(motif, minlength=len(motifs)).astype(np.int64),
        }
    )
    return TFBinding(hits, table, tuple(_notes(table, scanners, config)))


def base_frequencies(sequences: Sequence[str]) -> Float[np.ndarray, "4"]:
    """Frequencies of A, C, G, T over both strands, each at least 1 %.

    Raises
    ------
    InputError
        There is no known base.
    """
    count = np.array([[one.count(base) + one.count(base.lower()) for base in "ACGT"] for one in sequences]).sum(
        axis=0
    )
    if not count.sum():
        raise InputError("regions", "have no known base.", "Check that the genome file is not masked with N.")
    both_strands = np.maximum(count + count[::-1], 0.02 * count.sum())  # a base that is absent has no log-odds
    return both_strands / both_strands.sum()


def score_matrix(
    probabilities: Float[np.ndarray, "position base"], background: Float[np.ndarray, "4"], pseudocount: float
) -> Int[np.ndarray, "position base"]:
    """Log-odds of a motif against the background, in whole multiples of :data:`STEP`."""
    raised = probabilities + pseudocount
    return np.rint(np.log2(raised / raised.sum(axis=1, keepdims=True) / background) / STEP).astype(np.int64)


def score_tail(
    matrix: Int[np.ndarray, "position base"], background: Float[np.ndarray, "4"], max_pvalue: float
) -> Float[np.ndarray, " deficit"]:
    """p-values of the best scores of a motif: entry d belongs to the score d steps below the best.

    The table ends with the lowest score whose p-value is at most ``max_pvalue``; it is empty if none is.

    Only scores that are hits need a p-value, so how far a sequence's score falls below the best is counted up to a
    limit: first where a Chernoff bound on that sum's distribution comes near ``max_pvalue``, then twice as far if need
    be. The bound steers the work, never the result.
    """
    deficits = matrix.max(axis=1, keepdims=True) - matrix
    furthest = int(deficits.max(axis=1).sum())
    # P(sum <= x) <= exp(tilt * x) * E[exp(-tilt * sum)] for every tilt; the bound is mostly too high by less than 20.
    log_mean = np.log(np.exp(-TILTS[:, None, None] * (deficits * STEP)) @ background).sum(axis=1)
    limit = int(max(0.0, np.max((np.log(20 * max_pvalue) - log_mean) / TILTS)) / STEP) + 1
    while True:
        limit = min(limit, furthest)
        tail = _deficit_cdf(deficits, background, limit)
        if tail[-1] > max_pvalue or limit == furthest:
            break
        limit *= 2
    n_kept = int(np.searchsorted(tail, max_pvalue, side="right"))
    # End at a score that some sequence has: below it the p-value stays the same, down to the next possible score.
    return tail[: np.searchsorted(tail, tail[n_kept - 1]) + 1].copy() if n_kept else tail[:0]


def _deficit_cdf(
    deficits: Int[np.ndarray, "position base"], background: Float[np.ndarray, "4"], limit: int
) -> Float[np.ndarray, " deficit"]:
    """Chance that a sequence's deficits sum to at most 0, 1, ..., limit: dynamic programming over positions."""
    chance = np.zeros(limit + 1)
    chance[0] = 1.0
    reach = 0  # largest sum so far
    for row in deficits.tolist():
        after = np.zeros(limit + 1)
        weighted = {frequency: frequency * chance[: reach + 1] for frequency in set(background.tolist())}
        for deficit, frequency in zip(row, background.tolist(), strict=True):
            if deficit <= limit:
                n = min(reach, limit - deficit) + 1
                after[deficit : deficit + n] += weighted[frequency][:n]
        chance, reach = after, min(limit, reach + max(row))
    return np.minimum(np.cumsum(chance), 1)


class _Scanner:
    """A motif made ready: lightmotif's matrices of both strands, the threshold and the p-values above it."""

    def __init__(self, motif: Motif, background: np.ndarray, config: TFBindingConfig) -> None:
        import lightmotif

        matrix = score_matrix(motif.probabilities, background, config.pseudocount)
        self.name, self.width = motif.motif, len(matrix)
        self.best = int(matrix.max(axis=1).sum())
        best_word = np.prod(np.where(matrix == matrix.max(axis=1, keepdims=True), background, 0).sum(axis=1))
        self.is_short = bool(best_word > config.max_pvalue)
        if not self.is_short:
            self.tail = score_tail(matrix, background, config.max_pvalue)
        else:
            self.tail = np.array([best_word] if best_word <= config.max_pvalue_short else [])
        self.threshold = (self.best - len(self.tail) + 1) * STEP  # without a table: above the best score
        self.strands = []
        for oriented in (matrix, matrix[::-1, ::-1]):
            # The scanner wants a score of N. The lowest of the row does not widen its range; such hits are dropped.
            with_n = np.column_stack([oriented, oriented.min(axis=1)]) * STEP
            self.strands.append(
                lightmotif.ScoringMatrix({base: with_n[:, i].tolist() for i, base in enumerate("ACGTN")})
            )

    def scan(self, striped: Any) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Strand (0 or 1), positions and scores of hits, windows with N included, in no order."""
        import lightmotif

        if not len(self.tail):
            return
        for strand, matrix in enumerate(self.strands):
            hits = list(lightmotif.scan(matrix, striped, threshold=self.threshold, block_size=BLOCK))
            if hits:
                positions = np.array([hit.position for hit in hits], dtype=np.int64)
                yield strand, positions, np.array([hit.score for hit in hits], dtype=np.float32)


def _chunks(sequences: Sequence[str], size: int) -> Iterator[tuple[int, int]]:
    """Slices of consecutive sequences with about ``size`` bases together, one sequence at the least."""
    ends = np.cumsum([len(sequence) + 1 for sequence in sequences])
    first = 0
    while first < len(sequences):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + size, side="right")))
        yield first, last
        first = last


def _scan_chunk(sequences: Sequence[str], scanners: Sequence[_Scanner]) -> tuple[np.ndarray, ...]:
    """Hits sorted by sequence, start, motif and strand: these four columns, score and p-value."""
    import lightmotif

    # N after every sequence, and as many at the end as the widest motif: a window begins at each base.
    padding = "N" * max(scanner.width for scanner in scanners)
    text = ("N".join(sequences) + padding).encode("ascii", "replace").translate(TO_ACGTN)
    n_unknown = np.concatenate([[0], np.cumsum(np.frombuffer(text, dtype=np.uint8) == ord("N"), dtype=np.int32)])
    striped = lightmotif.stripe(text.decode("ascii"))
    found = [tuple(np.empty(0, dtype=dtype) for dtype in (np.int64, np.int32, np.int8, np.float32, np.float64))]
    for index, scanner in enumerate(scanners):
        for strand, position, score in scanner.scan(striped):
            is_known = n_unknown[position + scanner.width] == n_unknown[position]
            position, score = position[is_known], score[is_known]
            pvalue = scanner.tail[scanner.best - (score / STEP).astype(np.int64)]
            n = len(position)
            found.append((position, np.full(n, index, np.int32), np.full(n, strand, np.int8), score, pvalue))
    position, motif, strands, score, pvalue = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((strands, motif, position))
    starts = np.cumsum([0, *(len(sequence) + 1 for sequence in sequences[:-1])])
    which = np.searchsorted(starts, position, side="right") - 1
    columns = (which.astype(np.int32), motif, position - starts[which], strands, score, pvalue)
    return tuple(column[order] for column in columns)


def _notes(table: pd.DataFrame, scanners: Sequence[_Scanner], config: TFBindingConfig) -> Iterator[str]:
    if short := [scanner.name for scanner in scanners if scanner.is_short and len(scanner.tail)]:
        yield (
            f"{len(short)} of {len(table)} motifs are too short for a p-value of {config.max_pvalue:g} and were "
            f"searched for their best word: {shorten(short)}."
        )
    if lost := [scanner.name for scanner in scanners if not len(scanner.tail)]:
        yield (
            f"{len(lost)} of {len(table)} motifs are too short or too vague to be found at a p-value of "
            f"{max(config.max_pvalue, config.max_pvalue_short):g}: {shorten(lost)}. A larger max_pvalue_short finds "
            "them."
        )
    if n_none := int((table["n_hits"] == 0).sum()) - len(lost):
        yield f"{n_none} further motifs have no hit."

"""A genome for the simulated multiome, in which its motif hits can be found again.

:func:`simulate_genome` draws motifs for the TFs of a :class:`Simulation`, writes instances of them into the peaks
that its ``motif_hits`` name, and puts genes where its peaks expect them. :meth:`SimulatedGenome.write` makes the
reference files that a user would otherwise download. With them the prior can be computed instead of read.

Decisions
---------
* The random stream is its own, so that simulated data are the same with and without a genome.
* A planted instance is drawn from the motif's own probabilities, as binding sites vary, but until a scan at
  p = 5e-5 would report it: uniform background, pseudocount 1e-4. Its score is unrelated to that in ``motif_hits``.
* The motif hits of the simulation are all there are: its decoys stand for the matches that arise by chance in a real
  genome. On request those of the random sequence, in one of twenty peaks of 500 bp per motif, are left as well.
* Between peaks the genome is N, as if hard masked. It compresses to nothing, and nobody may look there: genes have
  positions but no sequence.
* Lines of the FASTA are long, because an index is built line by line.
"""

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from scmagnify_core.errors import InputError
from scmagnify_core.simulation.simulation import Simulation

STREAM = 1  # tells the random stream from that of the simulation, which has the same seed
BASES = np.frombuffer(b"ACGT", dtype=np.uint8)
SCAN_PVALUE = 5e-5  # of the scan that must find the instances
ROUNDING_BITS = 0.25  # above the exact threshold: scanners round their scores
PSEUDOCOUNT = 1e-4
BACKGROUND = 0.25
WIDTHS = (9, 13)  # at width 8 no more than three words reach the p-value
INFORMATION_BITS = (14.0, 17.0)  # of a motif; log2(1 / 5e-5) is 14.3
N_SITES = 200  # a motif's probabilities are shares of this many binding sites
GC_SHARE = (0.4, 0.6)  # of a peak
GENE_LENGTH_BP = (3_000, 9_000)
MARGIN_BP = 250_000  # from the last peak or gene to the end of its chromosome
ROUNDS = 20  # of changing bases in chance matches
LINE_BP = 10_000
LINES_PER_WRITE = 6  # as many as fill one block of bgzip


@dataclass(frozen=True)
class SimulatedGenome:
    """Genome, genes and motifs of a simulated multiome. Coordinates are 0-based and half-open.

    Attributes
    ----------
    peaks
        ``peak, chrom, start, end, sequence``, in the order of the ATAC modality; all else is N.
    genes
        ``gene, chrom, start, end, strand``, in the order of the RNA modality. All are on strand +, so that the start
        is where transcription starts.
    motifs
        Probabilities of A, C, G and T at each position, by the motif's name.
    motif_to_tf
        ``motif, tf``, one motif for each TF.
    sites
        Planted instances: ``peak, source, motif, start, strand, sequence, score``; ``start`` counts from that of the
        peak, ``sequence`` reads along ``strand``, ``score`` is the log-odds in bits.
    chrom_sizes
        Length of each chromosome in bp.
    """

    peaks: pd.DataFrame
    genes: pd.DataFrame
    motifs: Mapping[str, Float[np.ndarray, "position base"]]
    motif_to_tf: pd.DataFrame
    sites: pd.DataFrame
    chrom_sizes: Mapping[str, int]

    def write(self, folder: Path | str, name: str = "demo") -> dict[str, Path]:
        """Write the reference files as a user would supply them; return the paths. Existing files are replaced.

        Keys are those of a references table: ``genome`` (bgzip FASTA), ``annotation`` (GTF), ``motifs`` (MEME),
        ``motif_to_tf`` (parquet) and ``tf_list`` (text). The same genome gives the same bytes.
        """
        from Bio.bgzf import BgzfWriter

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        endings = {
            "genome": "fa.gz", "annotation": "gtf.gz", "motifs": "meme",
            "motif_to_tf": "motif_to_tf.parquet", "tf_list": "tf_list.txt",
        }  # fmt: skip
        paths = {key: folder / f"{name}.{ending}" for key, ending in endings.items()}
        for index in ("fai", "gzi"):  # of a genome that is replaced
            Path(f"{paths['genome']}.{index}").unlink(missing_ok=True)
        with BgzfWriter(paths["genome"], "wb", compresslevel=1) as stream:  # thrice as fast to index, half a MB more
            for piece in self._fasta():
                stream.write(piece)
        paths["annotation"].write_bytes(gzip.compress("".join(self._gtf()).encode(), mtime=0))
        paths["motifs"].write_text("".join(self._meme()))
        self.motif_to_tf.to_parquet(paths["motif_to_tf"], index=False)
        paths["tf_list"].write_text("".join(f"{tf}\n" for tf in self.motif_to_tf["tf"]))
        return paths

    def _fasta(self) -> Iterator[bytes]:
        step = LINES_PER_WRITE * LINE_BP
        for chrom, size in self.chrom_sizes.items():
            yield f">{chrom}\n".encode()
            own = self.peaks[self.peaks["chrom"] == chrom].sort_values("start")
            starts, ends = own["start"].to_numpy(), own["end"].to_numpy()
            for begin in range(0, size, step):
                bases = np.full(min(step, size - begin), ord("N"), dtype=np.uint8)
                for i in range(np.searchsorted(ends, begin, "right"), np.searchsorted(starts, begin + step)):
                    sequence = np.frombuffer(own["sequence"].iloc[i].encode(), dtype=np.uint8)
                    at = max(starts[i], begin), min(ends[i], begin + step)
                    bases[at[0] - begin : at[1] - begin] = sequence[at[0] - starts[i] : at[1] - starts[i]]
                text = bases.tobytes()
                yield b"".join(text[i : i + LINE_BP] + b"\n" for i in range(0, len(text), LINE_BP))

    def _gtf(self) -> Iterator[str]:
        for number, (gene, chrom, start, end, strand) in enumerate(self.genes.itertuples(index=False), start=1):
            ids = {"gene_id": f"SIMG{number:06d}", "transcript_id": f"SIMT{number:06d}"}
            names = {"gene_name": gene, "gene_type": "protein_coding"}
            for feature in ("gene", "transcript", "exon"):
                keys = {key: value for key, value in ids.items() if feature != "gene" or key == "gene_id"} | names
                text = " ".join(f'{key} "{value}";' for key, value in keys.items())
                # GTF counts from 1 and includes the end.
                place = f"{chrom}\tsimulated\t{feature}\t{start + 1}\t{end}"
                yield f"{place}\t.\t{strand}\t.\t{text}\n"

    def _meme(self) -> Iterator[str]:
        yield "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n\n"
        yield "Background letter frequencies\nA 0.25 C 0.25 G 0.25 T 0.25\n"
        for motif, tf in self.motif_to_tf.itertuples(index=False):
            matrix = self.motifs[motif]
            yield f"\nMOTIF {motif} {tf}\n"
            yield f"letter-probability matrix: alength= 4 w= {len(matrix)} nsites= {N_SITES} E= 0\n"
            yield from (" ".join(f"{value:.6f}" for value in row) + "\n" for row in matrix)


def simulate_genome(
    simulation: Simulation, seed: int | None = None, *, with_chance_matches: bool = False
) -> SimulatedGenome:
    """Draw a genome in which every ``(peak, source)`` of the simulation's ``motif_hits`` is an instance of a motif.

    Takes some seconds for the demo. Deterministic: the same simulation and seed give the same genome.

    Parameters
    ----------
    seed
        That of the simulation when omitted; its random stream is another one.
    with_chance_matches
        Leave further matches of the motifs where random sequence makes some. Otherwise bases are changed until hardly
        any is left but those that overlap planted instances.

    Raises
    ------
    InputError
        The motifs of one peak do not fit into it: the simulation has too many decoys.
    """
    rng = np.random.default_rng([simulation.config.seed if seed is None else seed, STREAM])
    rna, atac = simulation.mudata["rna"], simulation.mudata["atac"]
    tfs = rna.var_names[: simulation.config.n_sources].astype(str)
    names = [f"SIM{number:04d}.1" for number in range(1, len(tfs) + 1)]
    motifs = _motifs(rng, len(tfs))

    peaks = atac.var[["chrom", "start", "end"]].astype({"chrom": str}).rename_axis("peak").reset_index()
    sites = _instances(rng, simulation.motif_hits, dict(zip(tfs, motifs, strict=True)))
    sites, sequences = _plant(rng, peaks, sites)
    sites.insert(2, "motif", sites["source"].map(dict(zip(tfs, names, strict=True))))
    genes = _genes(rng, simulation)
    if not with_chance_matches:
        sequences = _without_chance_matches(rng, peaks, sequences, sites, dict(zip(names, motifs, strict=True)))
    last = pd.concat([peaks[["chrom", "end"]], genes[["chrom", "end"]]]).groupby("chrom", sort=False)["end"].max()
    return SimulatedGenome(
        peaks.assign(sequence=sequences),
        genes,
        {name: motif.matrix for name, motif in zip(names, motifs, strict=True)},
        pd.DataFrame({"motif": names, "tf": tfs}),
        sites,
        {str(chrom): int(end) + MARGIN_BP for chrom, end in last.items()},
    )


# ---------------------------------------------------------------- motifs


@dataclass(frozen=True)
class _Motif:
    """A motif, the bits by which each base speaks for it, and the score from which every scanner reports it."""

    matrix: Float[np.ndarray, "position base"]
    log_odds: Float[np.ndarray, "position base"]
    threshold: float

    @property
    def consensus(self) -> Int[np.ndarray, " position"]:
        return self.matrix.argmax(axis=1)

    def finds(self, bases: Int[np.ndarray, " base"]) -> bool:
        """Whether a scan of both strands reports it there."""
        width = np.arange(len(self.matrix))
        places = range(len(bases) - len(width) + 1)
        strands = (bases, 3 - bases[::-1])
        return any(self.log_odds[width, s[i + width]].sum() >= self.threshold for s in strands for i in places)


def _motifs(rng: np.random.Generator, n: int) -> list[_Motif]:
    """Motifs of which none is found in the consensus of another."""
    motifs: list[_Motif] = []
    while len(motifs) < n:
        new = _motif(rng)
        if not any(new.finds(other.consensus) or other.finds(new.consensus) for other in motifs):
            motifs.append(new)
    return motifs


def _motif(rng: np.random.Generator) -> _Motif:
    """Mostly strong positions, some that allow a second base; drawn until the information is in its range."""
    width = int(rng.integers(WIDTHS[0], WIDTHS[1] + 1))
    while True:
        best = np.where(rng.random(width) < 0.85, rng.uniform(0.88, 1, width), rng.uniform(0.5, 0.8, width))
        # The remainder falls mostly to one other base.
        probabilities = np.column_stack([best, (1 - best)[:, None] * rng.dirichlet([0.5] * 3, width)])
        counts = np.stack([rng.multinomial(N_SITES, row) for row in rng.permuted(probabilities, axis=1)])
        matrix = counts / N_SITES
        log_odds = np.log2((matrix + PSEUDOCOUNT) / (1 + 4 * PSEUDOCOUNT) / BACKGROUND)
        if INFORMATION_BITS[0] <= np.sum(matrix * log_odds) <= INFORMATION_BITS[1]:
            return _Motif(matrix, log_odds, _threshold(log_odds) + ROUNDING_BITS)


def _threshold(log_odds: Float[np.ndarray, "position base"], bin_bits: float = 1e-3) -> float:
    """Score that random sequence reaches with a probability of ``SCAN_PVALUE`` at most.

    The distribution is exact for scores rounded down to bins; what rounding can hide is added.
    """
    bins = np.floor(log_odds / bin_bits).astype(np.int64)
    least = bins.min(axis=1)
    density = np.ones(1)
    for row in bins - least[:, None]:
        longer = np.zeros(len(density) + row.max())
        for step in row:
            longer[step : step + len(density)] += BACKGROUND * density
        density = longer
    tail = np.cumsum(density[::-1])[::-1]  # probability of at least this score
    first = int(np.argmax(tail <= SCAN_PVALUE))
    return float((first + least.sum() + len(bins)) * bin_bits)


# ---------------------------------------------------------------- sequence


def _instances(rng: np.random.Generator, hits: pd.DataFrame, motifs: Mapping[str, _Motif]) -> pd.DataFrame:
    """An instance of the motif for each hit, drawn again until its score reaches the threshold."""
    frames = []
    for source, rows in hits.groupby("source", sort=True):
        motif = motifs[str(source)]
        width = len(motif.matrix)
        cumulated = motif.matrix.cumsum(axis=1)[:, :-1]
        bases = np.zeros((len(rows), width), dtype=np.int64)
        score = np.full(len(rows), -np.inf)
        while (is_low := score < motif.threshold).any():
            bases[is_low] = (rng.random((int(is_low.sum()), width, 1)) > cumulated).sum(axis=2)
            score = motif.log_odds[np.arange(width), bases].sum(axis=1)
        text = [BASES[row].tobytes().decode() for row in bases]
        frames.append(pd.DataFrame({"peak": rows["peak"], "source": source, "sequence": text, "score": score}))
    return pd.concat(frames, ignore_index=True)


def _plant(rng: np.random.Generator, peaks: pd.DataFrame, sites: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Random sequence for each peak, with its instances in random order, places and strands; none overlap."""
    own = sites.groupby("peak").indices
    instances = sites["sequence"].tolist()
    start, strand = np.zeros(len(sites), dtype=np.int64), rng.choice(np.array(["+", "-"]), len(sites))
    sequences = []
    lengths = peaks["end"].to_numpy() - peaks["start"].to_numpy()
    for peak, length in zip(peaks["peak"], lengths.tolist(), strict=True):
        gc = rng.uniform(*GC_SHARE)
        bases = rng.choice(BASES, length, p=np.array([1 - gc, gc, gc, 1 - gc]) / 2)
        rows = rng.permutation(own.get(peak, np.empty(0, dtype=np.int64)))
        widths = np.array([len(instances[row]) for row in rows], dtype=np.int64)
        free = length - int(widths.sum())
        if free < 0:
            raise InputError(
                "n_decoys_per_edge", f"gives peak '{peak}' of {length} bp {len(rows)} motifs, together "
                f"{widths.sum()} bp.", "Lower n_decoys_per_edge or max_regulators.",
            )  # fmt: skip
        before = np.sort(rng.integers(0, free + 1, len(rows)))  # free bases before each instance
        start[rows] = before + np.cumsum(widths) - widths
        for row, width in zip(rows, widths, strict=True):
            text = instances[row] if strand[row] == "+" else reverse_complement(instances[row])
            bases[start[row] : start[row] + width] = np.frombuffer(text.encode(), dtype=np.uint8)
        sequences.append(bases.tobytes().decode())
    columns = ["peak", "source", "start", "strand", "sequence", "score"]
    return sites.assign(start=start, strand=strand)[columns], sequences


def _without_chance_matches(
    rng: np.random.Generator,
    peaks: pd.DataFrame,
    sequences: list[str],
    sites: pd.DataFrame,
    motifs: Mapping[str, _Motif],
) -> list[str]:
    """Change a base outside the planted instances in every other match, until none is left.

    A match that shares all its telling bases with planted instances stays.
    """
    bases = [np.searchsorted(BASES, np.frombuffer(text.encode(), dtype=np.uint8)) for text in sequences]
    is_free = [np.ones(len(one), dtype=bool) for one in bases]
    number = dict(zip(peaks["peak"], range(len(peaks)), strict=True))
    planted = set()
    columns = (sites[name].tolist() for name in ("peak", "motif", "start", "sequence"))
    for peak, name, start, text in zip(*columns, strict=True):
        is_free[number[peak]][start : start + len(text)] = False
        planted.add((number[peak], name, start))
    todo = list(range(len(bases)))
    for _ in range(ROUNDS):
        changed = set()
        for name, motif in motifs.items():
            for place, start in _matches(motif, [bases[peak] for peak in todo]):
                peak, width = todo[place], len(motif.matrix)
                free = np.flatnonzero(is_free[peak][start : start + width])
                if (peak, name, start) in planted or not len(free):
                    continue
                at = start + int(rng.choice(free))
                bases[peak][at] = (bases[peak][at] + rng.integers(1, 4)) % 4
                changed.add(peak)
        todo = sorted(changed)
        if not todo:
            break
    return [BASES[one].tobytes().decode() for one in bases]


def _matches(motif: _Motif, sequences: list[Int[np.ndarray, " base"]]) -> list[tuple[int, int]]:
    """Sequence and start of every match of a motif on either strand, those just below its threshold included."""
    width = len(motif.matrix)
    unknown = np.full(width, 4)  # keeps a match from spanning two sequences
    text = np.concatenate([part for one in sequences for part in (one, unknown)])
    begins = np.cumsum([0, *(len(one) + width for one in sequences[:-1])])
    found = np.zeros(len(text) - width + 1, dtype=bool)
    for log_odds in (motif.log_odds, motif.log_odds[::-1, ::-1]):
        with_unknown = np.column_stack([log_odds, np.full(width, -np.inf)])
        score = np.zeros(len(found))
        for position, row in enumerate(with_unknown):
            score += row[text[position : position + len(found)]]
        found |= score >= motif.threshold - 2 * ROUNDING_BITS
    places = np.flatnonzero(found)
    which = np.searchsorted(begins, places, side="right") - 1
    return list(zip(which.tolist(), (places - begins[which]).tolist(), strict=True))


def reverse_complement(sequence: str) -> str:
    """The other strand of A, C, G and T, read in its own direction."""
    return sequence.translate(str.maketrans("ACGT", "TGCA"))[::-1]


def _genes(rng: np.random.Generator, simulation: Simulation) -> pd.DataFrame:
    """Genes whose starts lie where the simulation measured the distances of its peaks from."""
    var = simulation.mudata["atac"].var
    links = simulation.peak_gene_links.drop_duplicates("gene").set_index("gene")
    names = simulation.mudata["rna"].var_names.astype(str)
    links = links.loc[names]  # every gene has a peak
    linked = var.loc[links["peak"]]
    start = linked["start"].to_numpy() - links["distance_bp"].to_numpy()
    return pd.DataFrame(
        {
            "gene": names,
            "chrom": linked["chrom"].astype(str).to_numpy(),
            "start": start,
            "end": start + rng.integers(*GENE_LENGTH_BP, len(names)),
            "strand": "+",
        }
    )

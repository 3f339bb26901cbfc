"""The prior built from FASTA, ATAC and motifs beside the prior that is given, on planted networks.

    python benchmarks/chromatin.py 105 106 107

For each simulation seed: precision and recall of the links and of the candidate edges that were built, against the
planted ones; and how the network inferred on either prior scores, against the whole truth (every TF with every gene,
so that a missing candidate costs) and among its own candidates. "built" is from a genome with just the motif hits of
the simulation, whose decoys stand for matches by chance; "chance" from one where random sequence matches as well, so
that a sixth of the candidates are further decoys. One model each, default settings.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pandas as pd

from scmagnify_core.candidates import PriorNetwork
from scmagnify_core.data.dataset import Dataset, read_dataset
from scmagnify_core.data.references import References
from scmagnify_core.diffusion import diffusion_operators
from scmagnify_core.evaluation.scores import score_network
from scmagnify_core.methods.family import Inputs
from scmagnify_core.methods.grn.granger.family import FAMILY
from scmagnify_core.methods.packing import unpack
from scmagnify_core.network.network import aggregate_seeds
from scmagnify_core.prior import assemble_prior, read_base_network
from scmagnify_core.prior.build import bind_motifs, find_evidence, link_regions
from scmagnify_core.simulation.simulated_genome import SimulatedGenome, simulate_genome
from scmagnify_core.simulation.simulation import SimulationConfig, simulate
from scmagnify_core.specification import DatasetSpec, parse_spec


def infer(dataset: Dataset, prior: PriorNetwork, spec: DatasetSpec) -> pd.DataFrame:
    operators = diffusion_operators(dataset, prior.sources, spec.scmagnify.n_lags, spec.diffusion)
    inputs = Inputs(dataset, prior, operators)
    (fit,) = FAMILY.fit(inputs, spec.scmagnify, [0], lambda *told: None).values()
    return aggregate_seeds({0: unpack(fit, inputs)}, spec.network).edges


def pairs(frame: pd.DataFrame, first: str, second: str) -> set[tuple[str, str]]:
    return set(zip(frame[first], frame[second], strict=True))


def build(dataset: Dataset, genome: SimulatedGenome, spec: DatasetSpec) -> tuple[PriorNetwork, pd.DataFrame]:
    with tempfile.TemporaryDirectory() as folder:
        references = References.model_validate(genome.write(Path(folder)))
        links = link_regions(dataset, references, spec.peak_gene_links, spec.prior_network)
        bound = bind_motifs(dataset, links.links, links.peaks, references, spec.tf_binding, spec.prior_network)
        evidence, _ = find_evidence(
            dataset, (), None, references, spec.prior_network, links.links, bound.hits, bound.motifs
        )
    return assemble_prior(evidence, dataset)[0], links.links


def compare(seed: int, n_cells: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        simulation = simulate(SimulationConfig(seed=seed, n_cells=n_cells))
        files = simulation.write(Path(folder))
        spec = parse_spec({"name": "planted", "file": str(files["data"])})
        dataset = read_dataset(spec.description)
        given, _ = assemble_prior(read_base_network(files["prior"]), dataset)
    begin = time.perf_counter()
    built, links = build(dataset, simulate_genome(simulation), spec)
    seconds = time.perf_counter() - begin
    chance, _ = build(dataset, simulate_genome(simulation, with_chance_matches=True), spec)

    planted = pairs(given.to_table(), "source", "target")
    linked = pairs(links[links["is_linked"]], "peak", "target")
    true_links = pairs(simulation.peak_gene_links, "peak", "gene")
    true_edges = pairs(simulation.truth, "source", "target") & planted
    result = {
        "simulation": seed,
        "link_precision": len(linked & true_links) / len(linked),
        "link_recall": len(linked & true_links) / len(true_links),
        "seconds": seconds,
    }
    for name, prior in (("given", given), ("built", built), ("chance", chance)):
        found = pairs(prior.to_table(), "source", "target")
        edges = infer(dataset, prior, spec)
        whole = score_network(edges, simulation.truth, genes=dataset.genes).iloc[0]
        among = score_network(edges, simulation.truth, prior=prior.to_table(), universe="candidates").iloc[0]
        result |= {
            f"{name}: prior_precision": len(found & planted) / len(found),
            f"{name}: prior_recall": len(found & planted) / len(planted),
            f"{name}: true_edges_kept": len(found & true_edges) / len(true_edges),
            f"{name}: auprc": whole["auprc"],
            f"{name}: epr": whole["epr"],
            f"{name}: ratio_among_candidates": among["auprc_ratio"],
        }
    shares = {
        f"{name}: auprc_share": result[f"{name}: auprc"] / result["given: auprc"] for name in ("built", "chance")
    }
    return result | shares


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", type=int, nargs="*", default=[105], help="simulation seeds")
    parser.add_argument("--cells", type=int, default=1500, help="cells to simulate")
    arguments = parser.parse_args()
    table = pd.DataFrame([compare(seed, arguments.cells) for seed in arguments.seeds])
    print(table.round(3).T.to_string(header=False))

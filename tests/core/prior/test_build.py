"""The steps of the prior on a small multiome with a genome: what each leaves to the next, and files that do not fit."""

from dataclasses import replace

import pandas as pd
import pytest

from scmagnify_core.data.dataset import read_dataset
from scmagnify_core.data.description import DataDescription
from scmagnify_core.data.references import References
from scmagnify_core.errors import InputError, PriorError
from scmagnify_core.prior.annotation import read_annotation
from scmagnify_core.prior.base_network import read_base_network
from scmagnify_core.prior.build import bind_motifs, find_evidence, link_regions, read_tf_list
from scmagnify_core.prior.evidence import PriorConfig
from scmagnify_core.prior.genome import Genome
from scmagnify_core.prior.peak_gene_links import PeakGeneLinkConfig
from scmagnify_core.prior.tf_binding import TFBindingConfig
from scmagnify_core.tables.catalogue import TABLES


@pytest.fixture(scope="module")
def dataset(simulated):
    return read_dataset(DataDescription(name="small", file=simulated["data"]))


@pytest.fixture(scope="module")
def references(simulated):
    keys = ("genome", "annotation", "motifs", "motif_to_tf", "tf_list")
    return References(**{key: simulated[key] for key in keys})


def gather(dataset, references, imported=(), curated=None, **prior):
    """All three steps."""
    config = PriorConfig(**prior)
    links = link_regions(dataset, references, PeakGeneLinkConfig(), config)
    bound = bind_motifs(dataset, links.links, links.peaks, references, TFBindingConfig(), config)
    evidence, notes = find_evidence(
        dataset, imported, curated, references, config, links.links, bound.hits, bound.motifs
    )
    return links, bound, evidence, notes


@pytest.mark.filterwarnings("error")
def test_peaks_and_promoters_together_are_the_union_of_both(dataset, references):
    kinds = ("motif_atac", "motif_promoter")
    links, bound, both, _ = gather(dataset, references, evidence=kinds)
    each = [gather(dataset, references, evidence=[kind])[2] for kind in kinds]
    pairs = [set(zip(one["source"], one["target"], strict=True)) for one in (both, *each)]
    assert pairs[0] == pairs[1] | pairs[2]
    assert TABLES["peaks"].validate(links.peaks)["n_cells"].null_count == (links.links["kind"] == "promoter").sum()
    TABLES["tf_binding"].validate(bound.hits)


def test_bind_motifs_searches_only_regions_of_the_kinds_asked_for(dataset, references):
    links, bound, _, _ = gather(dataset, references, evidence=["motif_promoter"])
    promoters = links.links.loc[links.links["kind"] == "promoter", "peak"]
    assert {"atac", "promoter"} == set(links.links["kind"])
    assert set(bound.hits["peak"]) <= set(promoters)


def test_find_evidence_keeps_networks_of_the_same_file_name_apart(dataset, simulated, tmp_path):
    whole = read_base_network(simulated["prior"])
    paths = [tmp_path / folder / "prior.csv" for folder in ("a", "b", "c")]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        whole[number::3].to_csv(path, index=False)
    empty = pd.DataFrame()
    got, notes = find_evidence(dataset, paths[:2], paths[2], None, PriorConfig(), empty, empty, empty)
    assert len(got) == len(whole)
    assert (got["evidence"] == "curated").sum() == len(whole[2::3])
    assert f"{paths[1]}: {len(whole[1::3])} edges." in notes


def test_link_regions_cuts_promoters_off_at_the_end_of_the_chromosome(dataset, references, tmp_path):
    with Genome(references.genome) as genome:
        length = genome.lengths["chr1"]
    genes = read_annotation(references.annotation)
    near = genes.assign(chrom="1")
    near.loc[near.index[-1], ["start", "end", "strand", "tss"]] = [length - 300, length - 20, "-", length - 21]
    near.to_csv(tmp_path / "near.csv", index=False)
    alone = replace(dataset, atac=None)
    links, *_ = gather(alone, references.model_copy(update={"annotation": tmp_path / "near.csv"}))
    assert links.peaks["end"].max() == length

    near["tss"] += length  # of another build
    near.drop(columns=["start", "end"]).to_csv(tmp_path / "beyond.csv", index=False)
    with pytest.raises(PriorError, match="go beyond their chromosome .* different genome builds"):
        gather(alone, references.model_copy(update={"annotation": tmp_path / "beyond.csv"}))


def test_read_tf_list_takes_the_species_in_any_case_and_refuses_what_is_no_text(tmp_path):
    table = pd.DataFrame({"gene": ["GATA1", "Gata1"], "species": ["human", "mouse"]})
    table.to_csv(tmp_path / "tfs.csv", index=False)
    assert read_tf_list(tmp_path / "tfs.csv", "Mouse") == {"Gata1"}
    assert read_tf_list(tmp_path / "tfs.csv", "rat") == {"GATA1", "Gata1"}
    (tmp_path / "tfs.txt").write_bytes("GATA1\n".encode("utf-16"))
    with pytest.raises(InputError, match=r"tfs.txt': cannot be read .*Give one name a line, as UTF-8"):
        read_tf_list(tmp_path / "tfs.txt", None)

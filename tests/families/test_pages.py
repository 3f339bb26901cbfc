"""Pages of the documentation that are made from the records of families, and the page on how to write one."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from scmagnify_core.methods.families import FAMILIES
from scmagnify_core.methods.page import measured_of, page_of

DOCS = Path(__file__).resolve().parents[2] / "docs"


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_of_the_families_are_of_these_records():
    pages = load(DOCS / "families.py", "docs_families").pages()
    found = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "families").glob("*.md")}
    assert found == pages, "write them anew: make pages"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_page_says_what_a_family_is(name):
    family, page = FAMILIES[name], page_of(FAMILIES[name])
    for wanted in (family.about.assumes, family.about.formula, family.about.use_when, family.about.avoid_when):
        assert wanted in page
    assert "Nothing has been measured yet." in page


def test_measured_is_the_mean_over_networks():
    rows = [
        {"method": "a", "auprc_ratio": 2.0, "epr": 1.0, "runtime_s": 3.0},
        {"method": "a", "auprc_ratio": 4.0, "epr": 2.0}, {"method": "b", "auprc_ratio": 9.0, "epr": 9.0},
    ]  # fmt: skip
    found = measured_of("a", rows, "command")
    assert (found.n, found.auprc_ratio, found.epr, found.runtime_s) == (2, 3.0, 1.5, 3.0)
    assert measured_of("c", rows, "command") is None
    assert "On 2 planted networks: AUPRC ratio 3.00, EPR 1.50, 3 s a network" in page_of(FAMILIES["ridge"], found)


def test_the_family_of_the_page_on_adding_one_works(tmp_path, planted):
    (program,) = re.findall(
        r"^```python\n(.*?)^```", (DOCS / "adding-a-method.md").read_text(), re.MULTILINE | re.DOTALL
    )
    path = tmp_path / "cosine.py"
    path.write_text(program)
    sys.modules.pop("cosine", None)
    family = load(path, "cosine").FAMILY
    inputs, _ = planted
    network = family.read(family.fit(inputs, family.config(), [0], lambda *told: None)[0], inputs)
    assert network.n_edges == inputs.prior.n_edges
    assert (network.score() > 0).any()

"""A family's page in the documentation, from its record and from what was measured of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from scmagnify_core.methods.family import Family, Input, Kind

READS: Mapping[Input, str] = {
    Input.COUNTS: "counts",
    Input.EXPRESSION: "expression",
    Input.CANDIDATES: "candidate edges",
    Input.LAGS: "lagged expression",
    Input.PSEUDOTIME: "pseudotime",
    Input.SAMPLES: "samples",
    Input.CASES: "cases and controls",
    Input.ATAC: "chromatin accessibility",
}
RESULTS: Mapping[Kind, str] = {
    Kind.NETWORK: "a network",
    Kind.PROGRAMS: "gene programs",
    Kind.SAMPLES: "a model of samples",
}
TEMPLATE = """# {{ family.name }}

{{ family.title[:1].upper() }}{{ family.title[1:] }}. Role: {{ family.role }}. Result: {{ result }}.\
{% if family.reference %} Reference: <{{ family.reference }}>.{% endif %}


**Reads** {{ reads | join(", ") }}.

**Assumes** {{ family.about.assumes }}

```{math}
{{ family.about.formula }}
```

**Use it when** {{ family.about.use_when }}

**Do not use it when** {{ family.about.avoid_when }}

## Run it

{% if family.role == "method" %}
In the data set's TOML, or with `scmagnify add ... --method {{ family.name }}`:

```toml
methods = ["{{ family.name }}"]
```

Results: \
{% if family.kind == "network" %}
rows of `networks` with `method = '{{ family.name }}'`.
{% elif family.kind == "programs" %}
rows of `gene_programs` and `program_usage` with `method = '{{ family.name }}'`.
{% else %}
rows of `sample_distances` with `method = '{{ family.name }}'`, and of `cell_embeddings`.
{% endif %}
{% else %}
It is made by itself for every data set that has a ground truth, beside the methods. Results: rows of `networks` with
`method = '{{ family.name }}'`, scored in `network_scores`.
{% endif %}
{% if family.has_settings %}

Its settings are the table `[{{ family.name }}]`: see [Settings](../settings.md).
{% endif %}

## Measured

{% if measured %}
On {{ measured.n }} planted networks: AUPRC ratio {{ "%.2f" | format(measured.auprc_ratio) }}, \
EPR {{ "%.2f" | format(measured.epr) }}{% if measured.runtime_s is not none %}, \
{{ "%.2g" | format(measured.runtime_s) }} s a network{% endif %} (`{{ measured.command }}`; 1 is a random order).
See [Accuracy](../accuracy.md) for conditions, intervals and public data.
{% else %}
Nothing has been measured yet.
{% endif %}
"""


@dataclass(frozen=True)
class Measured:
    """Means of a family over planted networks."""

    n: int
    auprc_ratio: float
    epr: float
    runtime_s: float | None
    command: str


def measured_of(name: str, rows: Iterable[Mapping[str, object]], command: str) -> Measured | None:
    """What a benchmark's rows (``method, auprc_ratio, epr, runtime_s``) say of a family; None where it was not run."""
    own = [row for row in rows if row["method"] == name]
    if not own:
        return None

    def mean(key: str) -> float | None:
        known = [value for row in own if isinstance(value := row.get(key), int | float)]
        return fmean(known) if known else None

    return Measured(len(own), mean("auprc_ratio") or 0.0, mean("epr") or 0.0, mean("runtime_s"), command)


def page_of(family: Family, measured: Measured | None = None) -> str:
    """The page as Markdown."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    reads = [READS[one] for one in Input if one in family.reads]
    return (
        environment.from_string(TEMPLATE)
        .render(family=family, result=RESULTS[family.kind], reads=reads, measured=measured)
        .strip()
        + "\n"
    )


def index_of(families: Mapping[str, Family]) -> str:
    """The page that lists all families, with the table of contents that Sphinx reads."""
    rows = [
        f"| [{name}]({name}.md) | {one.role} | {one.kind.value} | {one.about.use_when} |"
        for name, one in families.items()
    ]
    return "\n".join(
        [
            "# Families of methods", "",
            "A data set names the methods that it runs (`methods` in its TOML). Baselines and controls are made beside",
            "them wherever there is a ground truth. A new family is one file and one line: see",
            "[Adding a family](../adding-a-method.md).", "",
            "| family | role | result | use it when |", "|---|---|---|---|", *rows, "",
            "```{toctree}", ":hidden:", "", *families, "```", "",
        ]
    )  # fmt: skip

"""Every setting of a data set, for people: what it may be, what it is when left out, and what it means.

Read from the models that validate them (`specification.DatasetSpec`), so that nothing is said twice.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from scmagnify_core.specification import PRESETS, DatasetSpec

BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
TYPES = {"string": "text", "boolean": "true or false", "object": "table", "null": "none"}


class Setting(NamedTuple):
    """A key of a data set's TOML.

    ``values`` says what it may be, ``default`` and ``published`` what it is in these presets when it is left out, as
    TOML would write it; empty where it is then not used, or must be given.
    """

    key: str
    values: str
    default: str
    published: str
    meaning: str

    @property
    def table(self) -> str:
        """The table that the key stands in; empty for none."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """The key within its table."""
        return self.key.rpartition(".")[2]


def settings() -> list[Setting]:
    """Every key; those of a table are written ``table.key``, as ``--set`` takes them."""
    schema = DatasetSpec.model_json_schema()
    return list(_settings(schema, schema["$defs"], ""))


def tables() -> dict[str, str]:
    """The tables of settings, and what each is about; the keys outside of tables are under the empty name."""
    schema = DatasetSpec.model_json_schema()
    about = {name: one.get("description", "") for name, one in schema["properties"].items() if "$ref" in one}
    return {"": "Files, columns and what else belongs to no table."} | about


def as_markdown() -> str:
    """The settings as a page of the documentation."""
    return "\n".join(_page()) + "\n"


def _settings(model: Mapping[str, Any], models: Mapping[str, Any], table: str) -> Iterator[Setting]:
    for name, one in model["properties"].items():
        if "$ref" in one:
            yield from _settings(models[one["$ref"].rpartition("/")[2]], models, name)
            continue
        given = [PRESETS[preset].get(table, {}) for preset in ("recommended", "published")]
        default, published = (
            '"none"' if name in found and found[name] is None else _toml(found.get(name, one.get("default")))
            for found in given
        )
        yield Setting(f"{table}.{name}" if table else name, _values(one), default, published, one["description"])


def _values(one: Mapping[str, Any]) -> str:
    if "$ref" in one:  # a model in the place of a name
        return "table"
    if "anyOf" in one:
        kinds = list(dict.fromkeys(_values(other) for other in one["anyOf"]))
        is_text = bool({"text", "path"} & set(kinds))  # in which "none" would be a name
        return " or ".join(kind for kind in kinds if kind != "none" or not is_text)
    if "enum" in one:
        return ", ".join(one["enum"])
    if one["type"] == "array":
        parts: Sequence[Mapping[str, Any]] = one.get("prefixItems") or [one["items"]]
        return f"list of {_values(parts[0])}"
    bounds = " and ".join(f"{sign} {one[name]:g}" for name, sign in BOUNDS.items() if name in one)
    kind = "path" if one.get("format") == "path" else TYPES.get(one["type"], one["type"])
    return f"{kind} {bounds}".strip()


def _toml(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else json.dumps(value)


def _page() -> Iterator[str]:
    yield "# Settings"
    yield ""
    yield (
        "Every key of a data set's TOML, generated from what validates it; `scmagnify settings` prints the same. A\n"
        "key of a table stands under its name there (`[scmagnify]`, then `n_lags = 3`), and as\n"
        '`--set scmagnify.n_lags=3` on the command line. Where `none` is among the values, `"none"` undoes what a\n'
        "preset sets. *Published* says what the preset of that name sets otherwise."
    )
    found = settings()
    for table, about in tables().items():
        yield from ("", f"## {f'[{table}]' if table else 'Without a table'}", "", about, "")
        yield from ("| key | values | default | published | meaning |", "|---|---|---|---|---|")
        for one in found:
            if one.table == table:
                published = one.published if one.published != one.default else ""
                cells = (_code(one.name), one.values, _code(one.default), _code(published), one.meaning)
                yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""

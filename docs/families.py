"""Write a page for each family of methods: `make pages`."""

import json
from pathlib import Path

from scmagnify_core.methods.families import FAMILIES
from scmagnify_core.methods.page import index_of, measured_of, page_of

DOCS = Path(__file__).resolve().parent


def pages() -> dict[str, str]:
    """The text of every page, by file name."""
    measured = json.loads((DOCS / "benchmarks" / "accuracy_simulated.json").read_text(encoding="utf-8"))
    rows, command = measured["results"], measured["command"]
    made = {f"{name}.md": page_of(one, measured_of(name, rows, command)) for name, one in FAMILIES.items()}
    return made | {"index.md": index_of(FAMILIES)}


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / "families" / name).write_text(text, encoding="utf-8")

"""What the platform knows of an asset, beyond the function that makes it: one frozen record beside each.

Everything else is derived from the records and from the edges of the graph: the codec that stores a value, the settings
and files that a version depends on, which tables may be empty, the checks of schemas, the waves of a run without a UI,
and the order in which the report names what it was made from. A forgotten entry is therefore an error and never a
default.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

from scmagnify_assets.graph.codecs import Codec
from scmagnify_core.tables.schema import Table

AS_STORED = {"as_stored": True}  # metadata of an input that the asset reads itself, table by table: a `Stored`
INTERPRETED = {"interpreted": True}  # metadata of an input that is read only of the method that is interpreted


@dataclass(frozen=True)
class Record:
    """One asset.

    Parameters
    ----------
    codec
        How its value is stored; None where the asset writes by itself.
    settings
        Keys of the data set's TOML that it reads itself, those that name files included. Its version depends on them
        and on those of its inputs, and on no others.
    inputs
        Assets that it is made from.
    family
        The family that it belongs to: it exists only for data sets that run that family.
    tables
        Tables that it writes.
    may_be_empty
        Those that may have no rows.
    column_sources
        Where columns of its main table come from: column -> (asset, column) that was read.
    """

    name: str
    codec: Codec | None
    settings: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    family: str | None = None
    tables: tuple[Table, ...] = ()
    may_be_empty: frozenset[str] = frozenset()
    column_sources: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)

    @property
    def main_table(self) -> Table | None:
        """The table that stands for the asset in the UI."""
        return next((table for table in self.tables if table.name == self.name), next(iter(self.tables), None))


RECORDS: dict[str, Record] = {}  # by asset, filled as the modules of assets are imported (`catalogue`)


def order_of_assets() -> list[str]:
    """Names of all assets, each after those that it is made from."""
    sorter = TopologicalSorter({record.name: sorted(record.inputs) for record in RECORDS.values()})
    return list(sorter.static_order())

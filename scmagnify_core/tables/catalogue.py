"""Every persisted table, by name, from the declarations of each subject.

The lakehouse creates and checks its tables from them, SQL shows them, and the data dictionary is printed from them.
"""

from collections.abc import Mapping

from scmagnify_core.tables import data, evaluation, interpretation, ledger, network, prior, programs, samples
from scmagnify_core.tables.schema import Table

_TABLES = (
    *data.TABLES, *prior.TABLES, *network.TABLES, *interpretation.TABLES, *programs.TABLES, *samples.TABLES,
    *evaluation.TABLES, *ledger.TABLES,
)  # fmt: skip
TABLES: Mapping[str, Table] = {table.name: table for table in _TABLES}


def tables_of(asset: str) -> list[Table]:
    """The tables that one asset writes, in declared order."""
    return [table for table in _TABLES if asset in table.writers]

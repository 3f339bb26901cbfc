"""The list of families: a new one is a module and one line here.

The order is that of legends and tables: methods first, then baselines from strong to weak, then controls.

Families that are not part of this package are added by ``SCMAGNIFY_FAMILIES``, a comma-separated list of modules that
each have a tuple ``FAMILIES``. It must be the same for every process of the platform.
"""

import importlib
import os
from collections.abc import Mapping

from scmagnify_core.methods.family import Family, Kind
from scmagnify_core.methods.grn import baselines, controls
from scmagnify_core.methods.grn.granger.family import FAMILY as SCMAGNIFY

VARIABLE = "SCMAGNIFY_FAMILIES"
MAIN = SCMAGNIFY.name  # the method of a data set that names none


def _added() -> tuple[Family, ...]:
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    return tuple(family for name in names if name for family in importlib.import_module(name).FAMILIES)


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        SCMAGNIFY,
        *_added(),
        *baselines.FAMILIES,
        *controls.FAMILIES,
    )
}
METHODS: Mapping[str, Family] = {name: family for name, family in FAMILIES.items() if family.role == "method"}
NETWORK_METHODS: Mapping[str, Family] = {name: one for name, one in METHODS.items() if one.kind is Kind.NETWORK}

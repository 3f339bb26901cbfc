"""The lake and the settings, as Dagster resources."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from scmagnify_assets.datasets import registry
from scmagnify_assets.home import Home
from scmagnify_assets.lake.lakehouse import Lakehouse
from scmagnify_core.specification import DatasetSpec


class LakeResource(dg.ConfigurableResource):
    """The lakehouse; without ``root`` the one below ``SCMAGNIFY_HOME``."""

    root: str = Field("", description="Folder of the lake; that of SCMAGNIFY_HOME when empty.")

    def open(self) -> Lakehouse:
        """The lake; cheap, it keeps no state."""
        return Lakehouse(Path(self.root) if self.root else Home.find().lake)


class Specs(dg.ConfigurableResource):
    """Settings of the data sets, with what this run puts over them."""

    lake: LakeResource
    preset: str = Field("", description="Preset for this run: recommended or published; the data set's when empty.")
    settings: list[str] = Field([], description="Overrides for this run, such as scmagnify.n_lags=3.")

    def get(self, dataset: str) -> DatasetSpec:
        """Settings of one data set, every default filled in."""
        return registry.find(self.lake.open(), dataset).spec(self.settings, self.preset or None)

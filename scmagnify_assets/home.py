"""Where everything lives: one folder, one setting.

``SCMAGNIFY_HOME`` names it; without it, it is ``scmagnify_home`` in the current folder. The command line, the UI and
the assets all ask here, so that they always look at the same results.
"""

import os
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "SCMAGNIFY_HOME"
DEFAULT = "scmagnify_home"

# Written once; a user's own edits stay. Concurrency stays at what a laptop bears.
DAGSTER_YAML = """\
telemetry:
  enabled: false
nux:
  enabled: false
run_monitoring:
  enabled: true
  free_slots_after_run_end_seconds: 60
concurrency:
  pools:
    default_limit: 1
  runs:
    max_concurrent_runs: 2
"""


@dataclass(frozen=True)
class Home:
    """The folder and its parts."""

    root: Path

    @classmethod
    def find(cls) -> "Home":
        """The folder that the environment names, or the default."""
        return cls(Path(os.environ.get(VARIABLE) or DEFAULT).expanduser().resolve())

    @property
    def lake(self) -> Path:
        """Tables, artefacts and SQL views."""
        return self.root / "lake"

    @property
    def dagster(self) -> Path:
        """Dagster's own records: runs, events, schedules."""
        return self.root / "dagster"

    @property
    def incoming(self) -> Path:
        """Descriptions of data sets, one TOML each."""
        return self.root / "incoming"

    @property
    def references(self) -> Path:
        """The TOML that declares genomes, annotations and motifs for all data sets."""
        return self.root / "references.toml"

    def create(self) -> None:
        """Make the folders and Dagster's configuration; harmless where they exist."""
        for folder in (self.root, self.dagster, self.incoming):
            folder.mkdir(parents=True, exist_ok=True)
        configuration = self.dagster / "dagster.yaml"
        if not configuration.exists():
            configuration.write_text(DAGSTER_YAML, encoding="utf-8")

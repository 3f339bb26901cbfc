"""Where everything lives: one folder, one setting.

``SCMAGNIFY_HOME`` names it; without it, it is ``scmagnify_home`` in the current folder. The command line, the UI and
the assets all ask here, so that they always look at the same results.
"""

import os
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "SCMAGNIFY_HOME"
INCOMING = "SCMAGNIFY_INCOMING"
DEFAULT = "scmagnify_home"

# Written once; a user's own edits stay. Concurrency stays at what a laptop bears.
DAGSTER_YAML = """\
# Dagster on one machine, for one person; runs at a time stay at what a laptop bears.
run_launcher:
  # Processes, as Dagster does by itself, but the daemon sees when one is gone.
  module: scmagnify_assets.service.launcher
  class: LocalRunLauncher
telemetry:
  enabled: false
nux:
  enabled: false
freshness:
  enabled: true
run_monitoring:
  enabled: true
  poll_interval_seconds: 10
  start_timeout_seconds: 90
  cancel_timeout_seconds: 60
  # A run that died gives back its turn on the GPU.
  free_slots_after_run_end_seconds: 15
run_retries:
  enabled: true
  max_retries: 3
  # Assets try failed steps again themselves; this is for runs whose worker died.
  retry_on_asset_or_op_failure: false
run_coordinator:
  module: dagster
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1
    # A run whose turn comes while the code server restarts waits for it instead of failing.
    max_user_code_failure_retries: 30
    user_code_failure_retry_delay: 5
concurrency:
  pools:
    # Steps of one pool take turns, over all runs: one training at a time.
    default_limit: 1
    granularity: op
  runs:
    max_concurrent_runs: 2
retention:
  # The sensors tick every few seconds, mostly to find nothing.
  sensor:
    purge_after_days:
      skipped: 1
  auto_materialize:
    purge_after_days:
      skipped: 1
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
        """Descriptions of data sets, one TOML each, and data files that were dropped there."""
        return self.root / "incoming"

    @property
    def incoming_url(self) -> str:
        """The folder that is watched for arrivals: `incoming`, or what SCMAGNIFY_INCOMING names (a path or URL)."""
        return os.environ.get(INCOMING) or str(self.incoming)

    @property
    def received(self) -> Path:
        """Local copies of what arrived in a remote folder."""
        return self.root / "received"

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

"""What the steps of all stages have in common whose results decide bytes."""

from __future__ import annotations

import apache_beam as beam

from pipelines.records.versions import check_versions, deciding_versions


class WorkerStep(beam.DoFn):
    """A DoFn that works only where the versions of its libraries are those where it was made."""

    def __init__(self) -> None:
        self._versions = deciding_versions()

    def setup(self) -> None:
        check_versions(self._versions)

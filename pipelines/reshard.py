"""``python -m pipelines.reshard``: rows in another number of shards, or in another format.

Nothing is encoded or packed again: the same rows in the same splits, each in the shard and at the place
that a key of its ``row_id`` gives it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines.command.options import CHOOSE, option
from pipelines.command.run import RunOptions, run_command
from pipelines.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ReshardConfig:
    """Put the rows of an output of pipelines.tokenize into another number of shards, or another format,
    without encoding them again.

    Example: --input runs/rows --output runs/rows64 --num_shards 64
    """

    input: str = option(group=CHOOSE, decides=False, metavar="DIR")
    """The output of pipelines.tokenize."""

    output: str = option(group=CHOOSE, decides=False, metavar="DIR")
    """The folder to write (local or gs://…)."""

    num_shards: int | None = option(None, group=CHOOSE)
    """Files to write; default: as many as there are."""

    format: Literal["same", "array_record", "tfrecord"] = option("same", group=CHOOSE)
    """The format of the shards; same: as it is."""

    def check(self) -> None:
        """Raises UserError for values that cannot work."""
        if self.num_shards is None and self.format == "same":
            raise UserError(
                "--num_shards: say how many shards there are to be, or another --format"
            )
        if self.num_shards is not None and not 1 <= self.num_shards <= 99999:
            raise UserError(f"--num_shards {self.num_shards}: must be between 1 and 99999")


def reshard(config: ReshardConfig, options: RunOptions = RunOptions()) -> None:
    """Runs the command. Raises UserError for what the user can put right."""
    from pipelines.tokenize.reshard import reshard_rows

    config.check()
    form = None if config.format == "same" else config.format
    reshard_rows(config.input, config.output, config.num_shards, form, options)


if __name__ == "__main__":
    run_command(ReshardConfig, reshard, stage="reshard", module="pipelines.reshard", beam=True)

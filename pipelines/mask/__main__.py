"""``python -m pipelines.mask``: rows to masked examples."""

from __future__ import annotations

from pipelines.command.run import RunOptions, run_command
from pipelines.mask.config import MaskStageConfig


def _main(config: MaskStageConfig, options: RunOptions) -> None:
    from pipelines.mask.pipeline import mask

    mask(config, options)


if __name__ == "__main__":
    run_command(MaskStageConfig, _main, stage="mask", module="pipelines.mask", beam=True)

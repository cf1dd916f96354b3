"""``python -m pipelines.mask``: rows to masked examples."""

from __future__ import annotations

from pipelines.beam_import import import_beam
from pipelines.command import RunOptions, run_command
from pipelines.mask.config import MaskStageConfig


def _main(config: MaskStageConfig, options: RunOptions) -> None:
    # Beam takes seconds to import: not for --help or a misspelt flag.
    import_beam(options.beam_args)
    from pipelines.mask.pipeline import mask

    mask(config, options)


if __name__ == "__main__":
    run_command(MaskStageConfig, _main, stage="mask", module="pipelines.mask", beam=True)

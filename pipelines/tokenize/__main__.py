"""``python -m pipelines.tokenize``: documents to packed rows."""

from __future__ import annotations

from pipelines.beam_import import import_beam
from pipelines.command import RunOptions, run_command
from pipelines.tokenize.config import TokenizeConfig


def _main(config: TokenizeConfig, options: RunOptions) -> None:
    # Beam takes seconds to import: not for --help or a misspelt flag.
    import_beam(options.beam_args)
    from pipelines.tokenize.pipeline import tokenize

    tokenize(config, options)


if __name__ == "__main__":
    run_command(TokenizeConfig, _main, stage="tokenize", module="pipelines.tokenize", beam=True)

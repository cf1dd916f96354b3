"""``python -m pipelines.tokenize``: documents to packed rows."""

from __future__ import annotations

from pipelines.command.run import RunOptions, run_command
from pipelines.tokenize.config import TokenizeConfig


def _main(config: TokenizeConfig, options: RunOptions) -> None:
    from pipelines.tokenize.pipeline import tokenize

    tokenize(config, options)


if __name__ == "__main__":
    run_command(TokenizeConfig, _main, stage="tokenize", module="pipelines.tokenize", beam=True)

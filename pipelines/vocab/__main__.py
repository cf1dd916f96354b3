"""``python -m pipelines.vocab``: documents to a WordPiece vocabulary."""

from __future__ import annotations

from pipelines.command.run import RunOptions, run_command
from pipelines.vocab.config import VocabConfig


def _main(config: VocabConfig, options: RunOptions) -> None:
    from pipelines.vocab.pipeline import learn_vocabulary

    learn_vocabulary(config, options)


if __name__ == "__main__":
    run_command(VocabConfig, _main, stage="vocab", module="pipelines.vocab", beam=True)

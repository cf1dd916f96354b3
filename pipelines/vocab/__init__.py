"""Stage ``vocab``: a corpus to a WordPiece vocabulary."""

from pipelines.lazy_exports import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "learn_vocabulary": "pipelines.vocab.pipeline",
        "VocabConfig": "pipelines.vocab.config",
    },
)

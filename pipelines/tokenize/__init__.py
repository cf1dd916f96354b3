"""Stage ``tokenize``: a corpus to shards of packed rows of token ids."""

from pipelines.lazy_exports import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "tokenize": "pipelines.tokenize.pipeline",
        "TokenizeConfig": "pipelines.tokenize.config",
    },
)

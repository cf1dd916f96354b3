"""Stage ``mask``: shards of rows to shards of masked examples."""

from pipelines.lazy_exports import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "mask": "pipelines.mask.pipeline",
        "MaskStageConfig": "pipelines.mask.config",
    },
)

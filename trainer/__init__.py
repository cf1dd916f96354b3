"""Models, layers and tokenizers with KerasNLP's names, and the training programs.

``import trainer as keras_nlp`` runs the code of KerasNLP's guides.
"""

import sys
from pathlib import Path

import pipelines as neighbour

if Path(neighbour.__path__[0]).resolve().parent != Path(__file__).resolve().parent.parent:
    hidden = (
        f"{neighbour.__path__[0]} hides the package of the same name that belongs to {__path__[0]}: "
        "start from another folder, or use the command bertmill"
    )
    if sys.argv[:1] == ["-m"]:  # python -m trainer.STAGE
        print(f"trainer: {hidden}", file=sys.stderr)
        sys.exit(2)
    raise ImportError(hidden)

from pipelines.lazy_exports import lazy_exports
from trainer.quiet_tensorflow import quiet_tensorflow

quiet_tensorflow()

__getattr__, __dir__ = lazy_exports(
    __name__, {name: f"trainer.{name}" for name in ("layers", "models", "tokenizers")}
)

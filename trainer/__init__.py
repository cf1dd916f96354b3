"""Models, layers and tokenizers with KerasNLP's names, and the training programs.

``import trainer as keras_nlp`` runs the code of KerasNLP's guides.
"""

from trainer.lazy_exports import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__, {name: f"trainer.{name}" for name in ("layers", "models", "tokenizers")}
)

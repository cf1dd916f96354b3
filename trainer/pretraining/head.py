"""What identities and manifests call the masked-LM head of a run, and the model's arguments for it."""

from __future__ import annotations

from typing import Any

# The head that KerasHub and Hugging Face can both hold exactly. Any other, which a run began with, is
# called by its options: arguments of ``MaskedLMHead`` that differ from KerasNLP's.
PORTABLE_HEAD = "portable"


def head_arguments(head: Any) -> dict[str, Any]:
    """The arguments of ``PretrainingModel`` for a head; None is KerasNLP's, as in early manifests."""
    if head == PORTABLE_HEAD:
        return {"portable_head": True}
    return {"head_options": head}

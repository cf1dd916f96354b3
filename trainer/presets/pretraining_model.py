"""The ``PretrainingModel`` of a run, from what the run's manifest says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.records.checksums import checked_file
from pipelines.records.manifest import MANIFEST
from pipelines.storage import files
from trainer.models.sizes import count_weights
from trainer.presets.check_arguments import check_arguments, check_size
from trainer.pretraining.head import head_arguments
from trainer.run_folder import WEIGHTS


def load_pretraining_model(run: str, facts: Mapping[str, Any]) -> Any:
    """The model that a finished run ended with, in float32; ``facts`` are those of its manifest.

    Raises UserError for weights that are damaged or of another model, OSError where there are none.
    """
    from trainer.presets.weights import load_weights_file

    with checked_file(run, WEIGHTS) as local:
        source = files.join(run, MANIFEST)
        check_size(count_checked(facts, source), [local], source)
        model = build_pretraining_model(facts)
        load_weights_file(model, local)
    return model


def count_checked(facts: Mapping[str, Any], source: str) -> int:
    """How many weights the encoder has. Raises UserError, which names the file ``source`` of the facts,
    where there is no such encoder."""
    from trainer.models.bert_backbone import BertBackbone

    check_arguments(BertBackbone, facts["model"], source)
    return count_weights(facts["model"])


def build_pretraining_model(facts: Mapping[str, Any]) -> Any:
    """The model, in float32, with weights that are to be replaced."""
    from trainer.models.bert_backbone import BertBackbone
    from trainer.models.pretraining_model import PretrainingModel

    return PretrainingModel(
        BertBackbone(**facts["model"], dtype="float32"),
        **head_arguments(facts.get("head")),
        next_sentence=facts.get("next_sentence", False),
    )

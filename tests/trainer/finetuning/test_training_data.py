"""What is said of the length to fine-tune at."""

from __future__ import annotations

import pytest

from trainer.finetuning.config import FinetuneConfig
from trainer.finetuning.training_data import prepare_reading


@pytest.fixture(scope="module")
def preset(tmp_path_factory) -> str:
    """A preset whose preprocessor gives 8 tokens, as an export of a run on rows of 8 has it."""
    from trainer.models.bert_text_classifier_preprocessor import BertTextClassifierPreprocessor
    from trainer.tokenizers.bert_tokenizer import BertTokenizer

    folder = str(tmp_path_factory.mktemp("preset"))
    tokenizer = BertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"], lowercase=True)
    BertTextClassifierPreprocessor(tokenizer, sequence_length=8).save_to_preset(folder)
    return folder


@pytest.mark.parametrize(("length", "is_said"), [(8, False), (16, True)])
def test_positions_that_were_perhaps_never_trained_are_named(preset, capsys, length, is_said):
    config = FinetuneConfig(preset=preset, train=("a",), output="b", seq_length=length)
    preprocessor, _ = prepare_reading(config, [])
    assert preprocessor.sequence_length == length
    said = f"--seq_length 16: {preset} was made for 8 tokens; its later positions were perhaps"
    assert (said in capsys.readouterr().err) == is_said

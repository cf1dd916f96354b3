"""Prints the greatest difference between the weights of two presets, of which one may be at a hub:
``python -m tests.trainer.presets.load_from_hub PRESET PRESET``."""

from __future__ import annotations

import sys

import numpy as np


def main() -> None:
    from trainer.models.bert_masked_lm import BertMaskedLM

    one, other = (BertMaskedLM.from_preset(preset) for preset in sys.argv[1:])
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    print(max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs))
    tokenizers = [model.preprocessor.tokenizer.get_vocabulary() for model in (one, other)]
    assert tokenizers[0] == tokenizers[1]


if __name__ == "__main__":
    main()

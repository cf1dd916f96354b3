"""Pretrain a BERT-tiny from random weights: masks drawn anew for every batch, a head on the backbone.

``python -m tests.workflows.pretrain_backbone --data REVIEWS --preset PRESET``; of PRESET only the
tokenizer is used.
"""

from __future__ import annotations

import math
from typing import Any

from tests.workflows.reviews import Options, load_reviews, run_workflow

BATCH, LENGTH, MASKS, RATE = 16, 256, 64, 0.25


def pretrain_backbone(options: Options) -> dict[str, float]:
    """Pretrain a backbone."""
    import keras

    import trainer as keras_nlp

    reviews = load_reviews(options)
    tokenizer = keras_nlp.models.BertTokenizer.from_preset(options.preset)
    length = options.seq_length or LENGTH
    packer = keras_nlp.layers.StartEndPacker(
        length, tokenizer.start_token_id, tokenizer.end_token_id, tokenizer.pad_token_id
    )
    masker = keras_nlp.layers.MaskedLMMaskGenerator(
        vocabulary_size=tokenizer.vocabulary_size(),
        mask_selection_rate=RATE,
        mask_selection_length=MASKS,
        mask_token_id=tokenizer.mask_token_id,
        unselectable_token_ids=tokenizer.special_token_ids,
        seed=options.seed,
    )

    class MaskedBatches(keras.utils.PyDataset):
        """Each time a row comes by, other tokens of it are masked."""

        def __init__(self, texts: list[str]) -> None:
            super().__init__()
            self._rows = packer(tokenizer.tokenize_texts(texts))

        def __len__(self) -> int:
            return math.ceil(len(self._rows) / BATCH)

        def __getitem__(self, index: int) -> Any:
            masked = masker(self._rows[index * BATCH : (index + 1) * BATCH])
            token_ids = masked["token_ids"]
            inputs = {
                "token_ids": token_ids,
                "segment_ids": token_ids * 0,
                "padding_mask": token_ids != tokenizer.pad_token_id,
                "mask_positions": masked["mask_positions"],
            }
            return inputs, masked["mask_ids"], masked["mask_weights"]

    backbone = keras_nlp.models.BertBackbone(
        vocabulary_size=tokenizer.vocabulary_size(),
        num_layers=2,
        num_heads=2,
        hidden_dim=128,
        intermediate_dim=512,
        max_sequence_length=length,
    )
    positions = keras.Input((MASKS,), dtype="int32", name="mask_positions")
    head = keras_nlp.layers.MaskedLMHead(token_embedding=backbone.token_embedding)
    logits = head(backbone(backbone.input)["sequence_output"], mask_positions=positions)
    model = keras.Model({**backbone.input, "mask_positions": positions}, logits)
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.AdamW(5e-4),
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    held_out = MaskedBatches(reviews.held_out_texts)
    history = model.fit(
        MaskedBatches(reviews.texts),
        epochs=options.epochs or 3,
        validation_data=held_out,
        verbose=2,
    )
    if options.save:
        backbone.save_to_preset(options.save)
        tokenizer.save_to_preset(options.save)
    figures = history.history
    return {
        "masked accuracy": figures["val_sparse_categorical_accuracy"][-1],
        "loss": figures["val_loss"][-1],
    }


if __name__ == "__main__":
    run_workflow(pretrain_backbone)

"""A vocabulary of one's own and a small Transformer, both from nothing but the reviews.

``python -m tests.workflows.from_scratch --data REVIEWS``
"""

from __future__ import annotations

from tests.workflows.reviews import Options, load_reviews, run_workflow

VOCABULARY, LENGTH = 20_000, 512


def from_scratch(options: Options) -> dict[str, float]:
    """Own vocabulary and a Transformer from scratch."""
    import keras
    import tensorflow as tf

    import trainer as keras_nlp

    reviews = load_reviews(options)
    pieces = keras_nlp.tokenizers.compute_word_piece_vocabulary(
        tf.data.Dataset.from_tensor_slices(reviews.texts),
        vocabulary_size=VOCABULARY,
        lowercase=True,
        strip_accents=True,
        reserved_tokens=["[PAD]", "[START]", "[END]", "[UNK]"],
    )
    tokenizer = keras_nlp.tokenizers.WordPieceTokenizer(
        vocabulary=pieces, lowercase=True, strip_accents=True, oov_token="[UNK]"
    )
    length = options.seq_length or LENGTH
    packer = keras_nlp.layers.StartEndPacker(
        length,
        start_value=tokenizer.token_to_id("[START]"),
        end_value=tokenizer.token_to_id("[END]"),
        pad_value=tokenizer.token_to_id("[PAD]"),
    )
    token_ids = keras.Input((length,), dtype="int32", name="token_ids")
    x = keras_nlp.layers.TokenAndPositionEmbedding(
        vocabulary_size=len(pieces), sequence_length=length, embedding_dim=64, mask_zero=True
    )(token_ids)
    x = keras_nlp.layers.TransformerEncoder(intermediate_dim=128, num_heads=2, dropout=0.1)(x)
    model = keras.Model(token_ids, keras.layers.Dense(2)(x[:, 0, :]))
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.AdamW(5e-5),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    history = model.fit(
        packer(tokenizer.tokenize_texts(reviews.texts)),
        reviews.labels,
        batch_size=16,
        epochs=options.epochs or 3,
        validation_data=(
            packer(tokenizer.tokenize_texts(reviews.held_out_texts)),
            reviews.held_out_labels,
        ),
        verbose=2,
    )
    return {
        "accuracy": max(history.history["val_sparse_categorical_accuracy"]),
        "pieces": float(len(pieces)),
    }


if __name__ == "__main__":
    run_workflow(from_scratch)

"""A model of one's own: a frozen pretrained backbone under two further TransformerEncoders.

``python -m tests.workflows.custom_frozen --data REVIEWS --preset PRESET``
"""

from __future__ import annotations

from tests.workflows.reviews import Options, load_reviews, run_workflow


def custom_frozen(options: Options) -> dict[str, float]:
    """Custom model on a frozen backbone."""
    import keras

    import trainer as keras_nlp

    reviews = load_reviews(options)
    backbone = keras_nlp.models.BertBackbone.from_preset(options.preset, dtype=options.dtype)
    backbone.trainable = False
    preprocessor = keras_nlp.models.BertTextClassifierPreprocessor.from_preset(
        options.preset, sequence_length=options.seq_length or backbone.max_sequence_length
    )
    inputs = backbone.input
    x = backbone(inputs)["sequence_output"]
    for _ in range(2):
        encoder = keras_nlp.layers.TransformerEncoder(
            intermediate_dim=512, num_heads=2, dropout=0.1
        )
        x = encoder(x, padding_mask=inputs["padding_mask"])
    outputs = keras.layers.Dense(2)(x[:, backbone.cls_token_index, :])
    model = keras.Model(inputs, outputs)
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.AdamW(5e-5),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    history = model.fit(
        preprocessor(reviews.texts),
        reviews.labels,
        batch_size=16,
        epochs=options.epochs or 3,
        validation_data=(preprocessor(reviews.held_out_texts), reviews.held_out_labels),
        verbose=2,
    )
    return {"accuracy": max(history.history["val_sparse_categorical_accuracy"])}


if __name__ == "__main__":
    run_workflow(custom_frozen)

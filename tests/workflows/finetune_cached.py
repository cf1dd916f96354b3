"""Fine-tune with preprocessing apart: encode once, then train for epochs on what was encoded.

``python -m tests.workflows.finetune_cached --data REVIEWS --preset PRESET``. The same from the command
line, on disk: ``pipelines.tokenize --packing examples``, then ``trainer.finetune --train`` its output.
"""

from __future__ import annotations

from tests.workflows.reviews import Options, load_reviews, run_workflow


def finetune_cached(options: Options) -> dict[str, float]:
    """Fine-tune with separate, cached preprocessing."""
    import keras

    import trainer as keras_nlp

    reviews = load_reviews(options)
    classifier = keras_nlp.models.BertTextClassifier.from_preset(
        options.preset, num_classes=2, preprocessor=None, dtype=options.dtype
    )
    preprocessor = keras_nlp.models.BertTextClassifierPreprocessor.from_preset(
        options.preset,
        sequence_length=options.seq_length or classifier.backbone.max_sequence_length,
    )
    train, held_out = preprocessor(reviews.texts), preprocessor(reviews.held_out_texts)
    classifier.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.AdamW(5e-5),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    history = classifier.fit(
        train,
        reviews.labels,
        batch_size=16,
        epochs=options.epochs or 3,
        validation_data=(held_out, reviews.held_out_labels),
        verbose=2,
    )
    return {"accuracy": max(history.history["val_sparse_categorical_accuracy"])}


if __name__ == "__main__":
    run_workflow(finetune_cached)

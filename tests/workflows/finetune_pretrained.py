"""Fine-tune a pretrained backbone on strings; the classifier brings its preprocessor.

``python -m tests.workflows.finetune_pretrained --data REVIEWS --preset PRESET [--save CLASSIFIER]``
"""

from __future__ import annotations

from tests.workflows.reviews import Options, load_reviews, run_workflow


def finetune_pretrained(options: Options) -> dict[str, float]:
    """Fine-tune a pretrained backbone."""
    import keras

    import trainer as keras_nlp

    reviews = load_reviews(options)
    classifier = keras_nlp.models.BertTextClassifier.from_preset(
        options.preset, num_classes=2, dtype=options.dtype
    )
    length = options.seq_length or classifier.backbone.max_sequence_length
    classifier.preprocessor.sequence_length = length
    classifier.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.AdamW(5e-5),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    history = classifier.fit(
        reviews.texts,
        reviews.labels,
        batch_size=16,
        epochs=options.epochs or 1,
        validation_data=(reviews.held_out_texts, reviews.held_out_labels),
        verbose=2,
    )
    if options.save:
        classifier.save_to_preset(options.save)
    return {"accuracy": history.history["val_sparse_categorical_accuracy"][-1]}


if __name__ == "__main__":
    run_workflow(finetune_pretrained)

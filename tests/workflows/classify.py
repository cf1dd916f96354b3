"""Inference with a fine-tuned classifier: strings in, probabilities out.

``python -m tests.workflows.classify --data REVIEWS --preset CLASSIFIER``, where CLASSIFIER is the preset
folder that trainer.finetune wrote, or what ``tests.workflows.finetune_pretrained --save`` did.
"""

from __future__ import annotations

from tests.workflows.reviews import Options, load_reviews, run_workflow


def classify(options: Options) -> dict[str, float]:
    """Inference with a fine-tuned classifier."""
    import keras

    import trainer as keras_nlp

    reviews = load_reviews(options)
    classifier = keras_nlp.models.BertTextClassifier.from_preset(options.preset)
    if options.seq_length:
        classifier.preprocessor.sequence_length = options.seq_length
    sentences = ["I would watch this again tomorrow.", "Two hours that I want back."]
    for sentence, logits in zip(sentences, classifier.predict(sentences, verbose=0), strict=True):
        bad, good = keras.ops.softmax(logits).tolist()
        print(f"bad {bad:.3f}  good {good:.3f}  {sentence}")
    _, accuracy = classifier.evaluate(
        reviews.held_out_texts, reviews.held_out_labels, batch_size=32, verbose=0
    )
    return {"accuracy": accuracy}


if __name__ == "__main__":
    run_workflow(classify)

"""The parts of a fine-tuning run: examples, labels, training, scores, output."""

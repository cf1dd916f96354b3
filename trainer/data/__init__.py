"""What a training step reads: which rows, in which order, as which arrays."""

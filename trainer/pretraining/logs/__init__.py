"""What a run logs: figures of its steps, as lines of metrics.jsonl, TensorBoard events and progress."""

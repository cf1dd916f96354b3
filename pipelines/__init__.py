"""bertmill's data pipelines: vocabulary, tokenization and packing, masking."""

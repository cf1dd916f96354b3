"""Model presets: directories of configurations, weights and vocabularies that KerasHub also reads."""

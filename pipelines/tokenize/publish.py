"""The end of the stage: everything balances, and its output is published."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import orjson

from pipelines.documents.read_documents import check_reading
from pipelines.errors import UserError
from pipelines.records.manifest import check_balance
from pipelines.stage import Report, StageRun, add_counts
from pipelines.storage import files
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.evaluation_texts import EvaluationTexts
from pipelines.tokenize.find_near_duplicates import check_sending
from pipelines.tokenize.shown_clusters import list_clusters
from pipelines.tokenize.transforms import MOST_LABELS, shared_evaluation

# The documents that share a run of tokens with an evaluation text, a line each.
LEAKS = "leaks.jsonl"
# Some clusters of near-duplicates, a line each.
NEAR_DUPLICATES = "near_duplicates.jsonl"


def publish_rows(
    reports: list[Report],
    run: StageRun,
    vocabulary: dict[str, Any],
    ranges: int,
    evaluation: str | None,
) -> None:
    """Checks that everything balances, then publishes the output.

    ``vocabulary``: what the manifest says of it, with which later stages must agree. ``evaluation``:
    the file of the evaluation texts that were left out, if any.
    """
    config: TokenizeConfig = run.config
    counts = add_counts(reports)
    check_reading(counts, ranges)
    check_sending(counts)
    check_balance(counts, "documents", "documents_in", ("documents_out", "documents_dropped_*"))
    check_balance(counts, "tokens", "tokens_in", ("tokens_out", "tokens_dropped_*"))
    if not counts["documents_out"]:
        raise _nothing_to_tokenize(counts, config)
    counts["rows"] = sum(report.shard.records for report in reports if report.shard)
    facts = {
        "format": config.format,
        "seq_length": config.seq_length,
        "packing": config.packing,
        "lowercase": config.lowercase,
        "strip_accents": config.strip_accents,
        "vocabulary": vocabulary,
    }
    if config.packing == "examples":
        labels = sum((report.labels for report in reports), Counter[str | None]())
        labelled = {"labels": labels.total(), "rows": counts["rows"]}
        check_balance(labelled, "labels", "labels", ("rows",))
        listed = None not in labels and len(labels) <= MOST_LABELS
        facts["labels"] = (
            {name: labels[name] for name in sorted(map(str, labels))} if listed else {}
        )
    if evaluation:
        facts["exclude"] = _list_leaks(reports, config.output, shared_evaluation(evaluation))
    if config.deduplicate == "near":
        parts = [part for report in reports for part in report.clusters]
        lines = [orjson.dumps(cluster) + b"\n" for cluster in list_clusters(parts)]
        files.publish_bytes(files.join(config.output, NEAR_DUPLICATES), b"".join(lines))
    run.publish(counts, facts, reports, {"megabytes_per_second": counts["bytes_in"] / 1e6})


def _nothing_to_tokenize(counts: Counter[str], config: TokenizeConfig) -> UserError:
    prefix = "documents_dropped_"
    dropped = [
        f", dropped {name.removeprefix(prefix)} {count}"
        for name, count in counts.items()
        if name.startswith(prefix) and count
    ]
    read = f"read {counts['documents_in']}{''.join(dropped)}"
    if config.packing == "examples":
        return UserError(f"no examples to tokenize: {read}; check --input and --text_field")
    return UserError(
        f"no documents to tokenize: {read}; check --input, --input_format and --text_field"
    )


def _list_leaks(reports: list[Report], output: str, evaluation: EvaluationTexts) -> dict[str, Any]:
    """Publishes the list of leaks, and returns what the manifest says of them."""
    pairs = [
        np.zeros((2, 0), np.uint64),
        *(report.leaks for report in reports if len(report.leaks)),
    ]
    leaks = np.unique(np.concatenate(pairs, axis=1), axis=1)
    lines = [
        orjson.dumps({"doc_id": f"{doc_id:016x}", "text": evaluation.name_text(text)}) + b"\n"
        for doc_id, text in leaks.T.tolist()
    ]
    files.publish_bytes(files.join(output, LEAKS), b"".join(lines))
    return {
        "texts": len(evaluation.files),
        "texts_too_short": evaluation.too_short,
        "texts_found": len(np.unique(leaks[1])),
        "fingerprint": evaluation.fingerprint,
    }

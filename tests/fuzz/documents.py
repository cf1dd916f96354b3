"""Documents and labelled texts of every format and compression, as stages and fine-tuning read them.

Whatever is read must be all that is there: as many records as an independent reading finds, the same
documents from one range of bytes as from several, and each of them out or dropped by a named reason.
"""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

from pipelines.documents.blocks import FileRange, plan_ranges, read_blocks
from pipelines.documents.config import CorpusConfig, InputFormat
from pipelines.documents.formats import resolve_format
from pipelines.documents.labelled import Fields, read_labelled
from pipelines.documents.open_content import split_extension
from pipelines.documents.sample import sample_input
from pipelines.errors import UserError
from tests.fuzz.mutate_file import COMPRESSIONS, DAMAGED, compress, decompress
from tests.fuzz.target import Draw, SilentLossError, Target

_TEXTS = (
    "A first text.",
    "Zweiter, größer: “quoted”",
    "",
    "  ",
    "[MASK] 𠀀 é",
    "third\twith tab",
    "x" * 300,
)
_LABELS = ("a", "b", "1", "2.0", "true", "a", "b")
_COMPRESSIONS = ("", ".gz", ".bz2", ".zst")


def targets() -> list[Target]:
    """One of corpora and one of labelled texts for each format and compression."""
    made = []
    for ending, content in _contents().items():
        for compression in _COMPRESSIONS:
            name = f"input.{ending}{compression}"
            packed = compress(content, compression[1:], Draw(0)) if compression else content
            made.append(
                Target(f"documents {ending}{compression}", {name: packed}, _read_corpus, share=3)
            )
            if ending != "txt" and ending != "wiki":
                made.append(
                    Target(
                        f"labelled {ending}{compression}", {name: packed}, _read_labelled, share=1.5
                    )
                )
    return made


def _contents() -> dict[str, bytes]:
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"text": text, "label": label} for text, label in zip(_TEXTS, _LABELS, strict=True)]
    parquet = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), parquet, row_group_size=3)
    quoted = [f'"{r["text"]}",{r["label"]}\r\n' for r in rows]
    articles = [f'<doc id="{i}" title="t">\nt\n\n{r["text"]}\n</doc>\n' for i, r in enumerate(rows)]
    return {
        "txt": "\n".join(_TEXTS).encode(),
        "jsonl": "".join(
            json.dumps(row, ensure_ascii=i % 2 > 0) + "\n" for i, row in enumerate(rows)
        ).encode(),
        "csv": ("text,label\r\n" + "".join(quoted)).encode(),
        "tsv": (
            "text\tlabel\n"
            + "".join(f"{r['text'].replace(chr(9), ' ')}\t{r['label']}\n" for r in rows)
        ).encode(),
        "wiki": "".join(articles).encode(),
        "parquet": parquet.getvalue(),
    }


def _read_corpus(folder: Path, draw: Draw) -> None:
    (path,) = folder.iterdir()
    named = {"wiki": "wikiextractor", "txt": "text"}
    ending = split_extension(str(path))[0][1:]
    config = CorpusConfig(
        input=(str(path),),
        input_format=draw.choice(("auto", named.get(ending, ending))),  # type: ignore[arg-type]
        document_boundary=draw.choice(("line", "blank_line", "file")),
        on_bad_record=draw.choice(("fail", "drop", "drop")),
        max_record_bytes=draw.choice((64 << 20, 64 << 20, 1000, 7)),
        text_field=draw.choice(("text", "text", "text", "label", "1", "")),
    )
    infos = config.match_input()
    (whole,) = plan_ranges(infos, config)
    texts, counts = _read(whole, config)
    dropped = sum(n for name, n in counts.items() if name.startswith("documents_dropped_"))
    if counts["documents_in"] != len(texts) + dropped:
        raise SilentLossError(f"{counts} but {len(texts)} texts")
    content = _content_of(path)
    kind = resolve_format(str(path), config.input_format)
    expected = _count_records(content, kind, config)
    if expected is not None and counts["documents_in"] != expected:
        raise SilentLossError(
            f"{expected} records, read {counts['documents_in']} ({kind}, {config})"
        )
    if path.suffix[1:] not in COMPRESSIONS and _is_splittable(kind, config):
        _check_ranges(path, config, texts, len(content), draw)
    try:
        sample_input(infos, config)
    except UserError:
        if texts:
            raise SilentLossError(f"no sample of {len(texts)} texts") from None


def _read(where: FileRange, options: InputFormat) -> tuple[list[str], Counter[str]]:
    texts: list[str] = []
    counts: Counter[str] = Counter()
    for block in read_blocks(where, options):
        texts += block.texts()
        counts += block.counts
    return texts, counts


def _is_splittable(kind: str, config: InputFormat) -> bool:
    return kind == "jsonl" or (kind == "text" and config.document_boundary == "line")


def _check_ranges(path: Path, config: InputFormat, texts: list[str], size: int, draw: Draw) -> None:
    cuts = sorted({draw.randint(1, max(1, size)) for _ in range(draw.randint(1, 4))})
    parts: list[str] = []
    for start, end in zip([0, *cuts], [*cuts, None], strict=True):
        parts += _read(FileRange(str(path), start, end), config)[0]
    if parts != texts:
        raise SilentLossError(f"ranges cut at {cuts} give {len(parts)} texts, not {len(texts)}")


def _content_of(path: Path) -> bytes:
    """The content by the standard library, whose word on damage counts."""
    end = path.suffix[1:]
    content = path.read_bytes()
    if end not in COMPRESSIONS:
        return content
    try:
        return decompress(content, end)
    except DAMAGED as error:
        raise SilentLossError(f"read although damaged ({error})") from None


def _count_records(content: bytes, kind: str, config: InputFormat) -> int | None:
    """How many records there are, counted in another way; None where only the reader can say."""
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not lines[-1]:
        lines.pop()
    longest = config.max_record_bytes
    if any(len(line) + 2 >= longest for line in lines):
        return None
    if kind == "jsonl":
        return sum(bool(line.strip()) for line in lines)
    if kind == "text" and config.document_boundary == "line":
        return len(lines)
    if kind == "text" and config.document_boundary == "file":
        return int(bool(lines))
    if kind == "parquet":
        import pyarrow.parquet as pq

        return int(pq.ParquetFile(io.BytesIO(content)).metadata.num_rows)
    return None


def _read_labelled(folder: Path, draw: Draw) -> None:
    (path,) = folder.iterdir()
    names: Any = draw.choice(
        (("text", "", "label"), ("text", "", "label"), ("text", "label", ""), ("1", "", "2"))
    )
    read_labelled([str(path)], Fields(*names), "train")
    _content_of(path)

"""Reading documents: every format and compression, and a line for everything that is wrong."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import lzma
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.documents import blocks as documents
from pipelines.documents.blocks import FileRange, content_id, plan_ranges, read_blocks
from pipelines.documents.config import InputFormat
from pipelines.errors import UserError
from pipelines.storage.files import match

TEXTS = ["One document.", "Zwei Wörter\u0085und ein NEL", "三\u2028 lines?", "a\ttab"]


def compress_zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


def read_texts(path: Path, **options) -> list[str]:
    return [text for block in read_all(path, **options) for text in block.texts()]


def read_all(path: Path, **options) -> list[documents.DocumentBlock]:
    chosen = InputFormat(**options)
    ranges = plan_ranges(match([str(path)]), chosen)
    return [block for where in ranges for block in read_blocks(where, chosen)]


def total_counts(path: Path, **options) -> dict[str, int]:
    total: dict[str, int] = {}
    for block in read_all(path, **options):
        for name, count in block.counts.items():
            total[name] = total.get(name, 0) + count
    return total


def as_jsonl(texts) -> bytes:
    return "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in texts).encode()


@pytest.mark.parametrize(
    ("ending", "compress"),
    [
        ("", lambda data: data),
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".zst", compress_zstd),
        # several members or frames one after the other, as parallel compressors write them
        (".gz", lambda data: gzip.compress(data[:40], mtime=0) + gzip.compress(data[40:])),
        (
            ".zst",
            lambda data: compress_zstd(data[:40]) + compress_zstd(data[40:]),
        ),
    ],
)
@pytest.mark.parametrize("format", ["text", "jsonl"])
def test_lines_in_every_compression(tmp_path, ending, compress, format):
    data = as_jsonl(TEXTS) if format == "jsonl" else "\n".join(TEXTS).encode()
    path = tmp_path / f"corpus.{'jsonl' if format == 'jsonl' else 'txt'}{ending}"
    path.write_bytes(compress(data))
    assert read_texts(path) == TEXTS


def test_parquet(tmp_path):
    path = tmp_path / "corpus.parquet"
    pq.write_table(pa.table({"text": TEXTS, "n": [1, 2, 3, 4]}), path)
    assert read_texts(path) == TEXTS
    with pytest.raises(UserError, match=r"no column 'body' \(there are text, n\)"):
        read_texts(path, text_field="body")
    with pytest.raises(UserError, match="holds int64, not text"):
        read_texts(path, text_field="n")


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_parquet_holds_text_in_several_types(tmp_path, kind):
    path = tmp_path / "corpus.parquet"
    pq.write_table(pa.table({"text": pa.array(TEXTS).cast(kind)}), path)
    assert read_texts(path) == TEXTS


def test_parquet_with_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "corpus.parquet"
    bad = pa.array([b"one", b"caf\xe9", b"three"]).view(pa.string())
    pq.write_table(pa.table({"text": bad}), path)
    with pytest.raises(UserError, match=r"row 2: not valid UTF-8 \(byte 0xe9") as error:
        read_texts(path)
    assert "\n" not in str(error.value)
    assert read_texts(path, on_bad_record="drop") == ["one", "three"]
    assert total_counts(path, on_bad_record="drop")["documents_dropped_invalid_utf8"] == 1


def test_parquet_with_two_columns_of_one_name(tmp_path):
    path = tmp_path / "corpus.parquet"
    columns = [pa.array(["a"]), pa.array(["b"]), pa.array(["c"])]
    pq.write_table(pa.table(columns, names=["text", "text", "body"]), path)
    with pytest.raises(UserError, match=r"corpus.parquet: 2 columns 'text'; rename all but one"):
        read_texts(path)
    assert read_texts(path, text_field="body") == ["c"]


def test_parquet_that_counts_more_rows_than_it_holds(tmp_path):
    path = tmp_path / "corpus.parquet"
    pq.write_table(pa.table({"text": ["a"] * 5000}), path)
    content, (counted, more) = path.read_bytes(), (b"\x90\x4e", b"\x92\x4e")  # 5,000 and 5,001
    footer = content.index(counted, len(content) - 8 - int.from_bytes(content[-8:-4], "little"))
    path.write_bytes(content[:footer] + more + content[footer + 2 :])
    assert pq.ParquetFile(path).metadata.num_rows == 5001
    with pytest.raises(UserError, match="it counts 5001 rows, 5000 are there"):
        read_texts(path)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_tables_give_the_column_of_the_text(tmp_path, ending):
    compress = gzip.compress if ending else bytes
    path = tmp_path / f"corpus.csv{ending}"
    path.write_bytes(compress(b'id,text\n1,"two\nlines, one ""text"""\n2,b\n'))
    assert read_texts(path) == ['two\nlines, one "text"', "b"]
    path = tmp_path / f"corpus.tsv{ending}"
    path.write_bytes(compress(b'text\tlabel\r\n"a\t0\r\nb\t1\r\n'))
    assert read_texts(path) == ['"a', "b"]
    assert read_texts(path, text_field="2") == ["label", "0", "1"]
    assert len(read_texts(path, input_format="text")) == 3
    with pytest.raises(UserError, match=r"corpus.tsv.*:1: no column 'body' \(there are text, la"):
        read_texts(path, text_field="body", on_bad_record="drop")


@pytest.mark.parametrize(
    ("name", "row", "reason", "message"),
    [
        ("a.csv", b"caf\xe9,1", "invalid_utf8", "not valid UTF-8 .byte 0xe9"),
        ("a.tsv", b"caf\xe9\t1", "invalid_utf8", "not valid UTF-8 .byte 0xe9"),
        ("a.csv", b"a,b,c", "wrong_columns", "3 columns, the first line has 2"),
    ],
)
def test_bad_rows_of_tables(tmp_path, name, row, reason, message):
    path = tmp_path / name
    good = b"%s\t1\n" if name.endswith("tsv") else b"%s,1\n"
    path.write_bytes(good % b"text" + good % b"one" + row + b"\n" + good % b"two")
    with pytest.raises(UserError, match=rf"{name}:3: {message}"):
        read_texts(path)
    assert read_texts(path, on_bad_record="drop") == ["one", "two"]
    assert total_counts(path, on_bad_record="drop")[f"documents_dropped_{reason}"] == 1


def test_fields_that_nobody_reads_may_hold_anything_of_json(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(
        b'{"text": "fine", "score": NaN}\n{"text": "good", "x": "\\ud800"}\n'
        b'{"text": "a\\ud800b"}\n{"text": "\\ud83d\\ude00"}\n'
    )
    assert read_texts(path) == ["fine", "good", "a\ufffdb", "\U0001f600"]


def tar(data: bytes) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        info = tarfile.TarInfo("corpus.txt")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


def zipped(data: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("corpus.txt", data)
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("corpus.tar.gz", gzip.compress(tar(b"text\n" * 9)), r"an archive \(tar\); unpack it"),
        ("corpus.txt", tar(b"text\n" * 9), r"an archive \(tar\); unpack it"),
        ("corpus.zip", zipped(b"text\n" * 9), r"an archive \(zip\); unpack it"),
        ("corpus.csv", zipped(b"text\n" * 9), r"an archive \(zip\); unpack it"),
        ("corpus.xz", lzma.compress(b"text\n"), "compressed with xz"),
        (
            "corpus.jsonl",
            gzip.compress(b'{"text": "a"}\n', mtime=0),
            "compressed with gzip; name it .gz",
        ),
        ("corpus.txt", bz2.compress(b"text\n", 1), "compressed with bzip2; name it .bz2"),
        ("corpus.txt", compress_zstd(b"text\n"), "compressed with zstd; name it .zst"),
    ],
    ids=lambda value: "data" if isinstance(value, bytes) else None,  # archives hold the time
)
@pytest.mark.parametrize("on_bad_record", ["fail", "drop"])
def test_archives_and_wrong_endings_are_recognised(tmp_path, name, data, message, on_bad_record):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"{name}: this is no text but {message}"):
        read_texts(path, on_bad_record=on_bad_record)


@pytest.mark.parametrize("name", ["wiki_00", "wiki.txt"])
def test_wikiextractor(tmp_path, name):
    path = tmp_path / name
    path.write_text(
        '<doc id="1" url="u" title="First">\nFirst\n\nBody of one.\n\nMore.\n</doc>\n'
        '<doc id="2" url="u" title="Second">\nSecond\n\nBody of two.\n</doc>\n'
    )
    assert read_texts(path) == ["Body of one.\n\nMore.", "Body of two."]


@pytest.mark.parametrize(
    ("boundary", "expected"),
    [("line", ["a", "b", "c"]), ("blank_line", ["a\nb", "c"]), ("file", ["a\nb\n\nc"])],
)
def test_boundaries_of_plain_text(tmp_path, boundary, expected):
    path = tmp_path / "corpus.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\r\n\r\nc")
    assert read_texts(path, document_boundary=boundary) == expected


@given(
    lines=st.lists(st.text(st.sampled_from("ab é\r"), max_size=12), max_size=30),
    size=st.integers(1, 40),
    ending=st.booleans(),
)
def test_ranges_together_are_the_file(tmp_path_factory, lines, size, ending):
    path = tmp_path_factory.mktemp("ranges") / "corpus.txt"
    data = "\n".join(lines).encode() + (b"\n" if ending else b"")
    path.write_bytes(data)
    options = InputFormat()
    whole = [t for block in read_blocks(FileRange(str(path)), options) for t in block.texts()]
    edges = [*range(0, len(data), size), None]
    parts = [
        text
        for start, end in zip(edges[:-1], edges[1:], strict=True)
        for block in read_blocks(FileRange(str(path), start, end), options)
        for text in block.texts()
    ]
    assert parts == (whole if data else [])


def test_large_files_are_cut_and_errors_still_name_the_line(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "RANGE_BYTES", 1000)
    monkeypatch.setattr(documents, "BLOCK_BYTES", 300)
    lines = [json.dumps({"text": f"document {i}"}) for i in range(500)]
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(lines))
    assert len(plan_ranges(match([str(path)]), InputFormat())) > 5
    assert sorted(read_texts(path)) == sorted(f"document {i}" for i in range(500))
    lines[321] = '{"text": oops}'
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"corpus\.jsonl:322: not valid JSON"):
        read_texts(path)


BAD_LINES = [
    (b'{"text": "caf\xe9"}', "invalid_utf8", "not valid UTF-8 .byte 0xe9"),
    (b'{"text": "a"', "invalid_json", "not valid JSON"),
    (b'{"body": "a", "id": 3}', "missing_field", r"no field 'text' \(there are body, id\)"),
    (b'{"text": 7}', "not_text", "field 'text' holds 7, not text"),
    (b'["a"]', "invalid_json", "not a JSON object"),
    (b"[" * 100_000, "invalid_json", "not valid JSON"),
]


@pytest.mark.parametrize(("line", "reason", "message"), BAD_LINES)
def test_bad_records_stop_with_file_and_line_or_are_counted(tmp_path, line, reason, message):
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(as_jsonl(["one", "two"]) + b"\n" + line + b"\n" + as_jsonl(["three"]))
    with pytest.raises(UserError, match=rf"corpus\.jsonl:4: {message}.*--on_bad_record drop"):
        read_texts(path)
    assert read_texts(path, on_bad_record="drop") == ["one", "two", "three"]
    counts = total_counts(path, on_bad_record="drop")
    assert counts["documents_in"] == 4
    assert counts[f"documents_dropped_{reason}"] == 1


def test_empty_documents_are_dropped_and_counted(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(as_jsonl(["", " \n\t", "x", "\u3000"]))
    assert read_texts(path) == ["x", "\u3000"]
    assert total_counts(path)["documents_dropped_empty"] == 2


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl.gz", gzip.compress(b"x" * 100_000, mtime=0)[:-20]),
        ("a.jsonl.gz", b"this is not gzip"),
        ("a.jsonl.bz2", bz2.compress(bytes(range(256)) * 400)[:-20]),
        ("a.jsonl.zst", b"this is not zstd at all"),
        ("a.parquet", b"PAR1 this is not parquet"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"{name}.*(damaged|not valid)"):
        read_texts(path)


def test_a_truncated_zst_is_not_taken_for_a_short_one(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    data = as_jsonl([f"document number {i} of many" for i in range(20_000)])
    path.write_bytes(compress_zstd(data)[:-500])
    with pytest.raises(UserError, match="damaged or truncated"):
        read_texts(path)


def test_doc_id_is_the_content(tmp_path):
    (tmp_path / "a.txt").write_text("same text")
    (tmp_path / "b.jsonl").write_bytes(as_jsonl(["same text"]))
    blocks = [block for block in read_all(tmp_path) if len(block)]
    assert {int(block.doc_ids[0]) for block in blocks} == {content_id(b"same text")}


def test_patterns_that_match_nothing(tmp_path):
    with pytest.raises(UserError, match=r"no file matches '.*\*\.txt'"):
        match([str(tmp_path / "*.txt")])
    with pytest.raises(UserError, match="no such file"):
        match([str(tmp_path / "missing.txt")])
    with pytest.raises(UserError, match="no file matches|no such file"):
        match([str(tmp_path)])


def parquet(texts: list[str]) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), content)
    return content.getvalue()


LONG = "x" * 51
WIKI = '<doc id="1">\nT\n\n%s\n</doc>\n'


@pytest.mark.parametrize(
    ("name", "data", "location", "options"),
    [
        ("a.txt", f"one\n{LONG}\r\n{'y' * 50}\r\n".encode(), ":2", {}),
        ("a.txt.gz", gzip.compress(f"one\n{'x' * 5000}\n{'y' * 50}".encode(), mtime=0), ":2", {}),
        ("a.jsonl", as_jsonl(["one", "z" * 60, "y" * 29]), ":2", {}),
        ("a.tsv", f"text\none\n{LONG}\n{'y' * 50}\n".encode(), ":3", {}),
        ("a.txt", b"one\n\n" + b"x\n" * 26 + b"\n" + b"y" * 50, ":3", {"b": "blank_line"}),
        ("a.txt", f"one\n\nx\n{LONG}\nx\n\n{'y' * 50}".encode(), ":3", {"b": "blank_line"}),
        ("a.wiki", "".join(WIKI % t for t in ("one", LONG, "y" * 46)).encode(), ":6", {}),
        ("a.wiki", "".join(WIKI % t for t in ("one", "x\n" * 25, "y")).encode(), ":6", {}),
        ("a.parquet", parquet(["one", LONG, "y" * 50]), ": row 2", {}),
    ],
    ids=lambda value: "data" if isinstance(value, bytes) else None,
)
def test_records_longer_than_the_limit(tmp_path, name, data, location, options):
    path = tmp_path / name
    path.write_bytes(data)
    options = {"max_record_bytes": 50, "document_boundary": options.get("b", "line")}
    expected = (
        rf"{name}{location}: longer than 50 bytes; split the record, raise --max_record_bytes, "
    )
    with pytest.raises(UserError, match=expected):
        read_texts(path, **options)
    one, rest = read_texts(path, on_bad_record="drop", **options)
    assert one == "one"
    assert set(rest) == {"y"}
    counts = total_counts(path, on_bad_record="drop", **options)
    assert counts["documents_in"] == 3
    assert counts["documents_dropped_too_long"] == 1


@pytest.mark.parametrize("row", ["x" * 60, f'"{"x" * 60}"', '"' + "x\n" * 26 + '"'])
def test_a_row_of_csv_longer_than_the_limit(tmp_path, row):
    path = tmp_path / "a.csv"
    path.write_text(f"text\none\n{row}\ntwo\n")
    with pytest.raises(
        UserError, match=r"a.csv:3: not valid CSV .a row of more than 50 characters"
    ):
        read_texts(path, max_record_bytes=50, on_bad_record="drop")
    assert len(read_texts(path, max_record_bytes=100)) == 3


def test_of_a_long_line_only_a_part_is_in_memory(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"x" * 30_000_000 + b"\nend\n", 1))
    tracemalloc.start()
    try:
        assert read_texts(path, max_record_bytes=1000, on_bad_record="drop") == ["end"]
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_the_lines_of_ranges_with_a_long_line(tmp_path):
    path = tmp_path / "corpus.txt"
    lines = ["one", "x" * 500, "two", "three"]
    path.write_text("\n".join(lines))
    options = InputFormat(max_record_bytes=10, on_bad_record="drop")
    edges = [*range(0, 510, 70), None]
    found = [
        text
        for start, end in itertools.pairwise(edges)
        for block in read_blocks(FileRange(str(path), start, end), options)
        for text in block.texts()
    ]
    assert found == ["one", "two", "three"]

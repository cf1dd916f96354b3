from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.documents.bad_record import BadRecords
from pipelines.documents.labelled import Fields, LabelledText, as_class_name, read_labelled
from pipelines.errors import UserError
from trainer.finetuning.labels import class_names, encode_labels

# Line ends of Unicode, a quotation mark, a comma: all part of the text.
TEXTS = ['He said "no", and left\u2028 at once.\u0085', "Straße, 東京 😀", "plain"]
LABELS = ["bad", "good", "bad"]
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


def read(path: Path | str, **fields: str) -> list[LabelledText]:
    defaults = {"text_field": "text", "label_field": "label"}
    return read_labelled([str(path)], Fields(**(defaults | fields)), "train")


def columns(data: list[LabelledText]) -> tuple[list[Any], list[str]]:
    return [row.label for row in data], [row.location for row in data]


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def write_all_formats(folder: Path) -> dict[str, Path]:
    rows = [{"text": t, "label": y} for t, y in zip(TEXTS, LABELS, strict=True)]
    paths = {name: folder / f"data.{name}" for name in ("jsonl", "csv", "tsv", "parquet")}
    write_jsonl(paths["jsonl"], rows)
    quoted = [(text.replace('"', '""'), label) for text, label in zip(TEXTS, LABELS, strict=True)]
    paths["csv"].write_text("text,label\n" + "".join(f'"{t}",{y}\n' for t, y in quoted), "utf-8")
    paths["tsv"].write_text(
        "text\tlabel\n" + "".join(f"{t}\t{y}\n" for t, y in zip(TEXTS, LABELS, strict=True)),
        "utf-8",
    )
    pq.write_table(pa.Table.from_pylist(rows), paths["parquet"])
    for name in ("jsonl", "csv", "tsv", "parquet"):
        for ending, compress in COMPRESSIONS.items():
            paths[name + ending] = folder / f"data.{name}{ending}"
            paths[name + ending].write_bytes(compress(paths[name].read_bytes()))
    return paths


@pytest.mark.parametrize("ending", ["", *COMPRESSIONS])
@pytest.mark.parametrize("name", ["jsonl", "csv", "tsv", "parquet"])
def test_every_format_gives_the_same(tmp_path: Path, name: str, ending: str) -> None:
    path = write_all_formats(tmp_path)[name + ending]
    data = read(path)
    assert [(row.text, row.label, row.pair) for row in data] == [
        (text, label, None) for text, label in zip(TEXTS, LABELS, strict=True)
    ]
    lines = {"parquet": [": row 1", ": row 2", ": row 3"]}.get(
        name, [":1", ":2", ":3"] if name.startswith("jsonl") else [":2", ":3", ":4"]
    )
    assert [row.location for row in data] == [f"{path}{line}" for line in lines]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_bad_records_are_dropped_and_counted(tmp_path: Path, ending: str) -> None:
    rows = [("a", "x"), ("b", ""), ("c", "y"), ("d", " ")]
    path = tmp_path / f"data.{ending}"
    if ending == "parquet":
        pq.write_table(
            pa.table({"text": [t for t, _ in rows], "label": [y for _, y in rows]}), path
        )
    elif ending == "csv":
        path.write_text("text,label\n" + "".join(f"{t},{y}\n" for t, y in rows))
    else:
        write_jsonl(path, [*({"text": t, "label": y} for t, y in rows), {"label": "x"}, 7])
    bad = BadRecords(drop=True)
    data = read_labelled([str(path)], Fields("text", label_field="label"), "train", bad)
    assert [(row.text, row.label) for row in data] == [("a", "x"), ("c", "y")]
    more = {"missing_field": 1, "invalid_json": 1} if ending == "jsonl" else {}
    assert bad.counts == {"no_label": 2, **more}
    with pytest.raises(UserError, match=r"holds no label.*, or drop such records with --on_bad"):
        read_labelled(
            [str(path)], Fields("text", label_field="label"), "train", BadRecords(drop=False)
        )


def test_nothing_left_says_what_was_dropped(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "a", "label": "x"}] * 3)
    with pytest.raises(UserError, match=r"no examples in .* \(dropped: missing_field 3\)"):
        read_labelled([str(path)], Fields("text", label_field="y"), "train", BadRecords(drop=True))


def test_several_files_pairs_and_no_labels(tmp_path: Path) -> None:
    for i in range(3):
        write_jsonl(tmp_path / f"part-{i}.jsonl", [{"a": f"a{i}", "b": f"b{i}"}])
    data = read_labelled([str(tmp_path / "part-*.jsonl")], Fields("a", "b"), "data")
    assert [row[:3] for row in data] == [(f"a{i}", f"b{i}", None) for i in range(3)]


def test_column_numbers_for_a_table_without_header(tmp_path: Path) -> None:
    path = tmp_path / "cola.tsv"
    path.write_text("gj04\t1\t\tThe first.\ngj04\t0\t*\tSecond the.\n", "utf-8")
    data = read(path, text_field="4", label_field="2")
    assert [row.text for row in data] == ["The first.", "Second the."]
    assert [row.label for row in data] == ["1", "0"]
    assert [row.location for row in data] == [f"{path}:1", f"{path}:2"]


def test_csv_rows_over_several_lines_keep_their_place(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('text,label\n"two\nlines",a\nnext,\n', "utf-8")
    with pytest.raises(UserError, match=r"x\.csv:4: field 'label' holds no label"):
        read(path)
    path.write_text('\ufefftext,label\r\n"two\r\nlines",a\r\nnext,b\r\n', "utf-8")
    data = read(path)
    assert [row.text for row in data] == ["two\r\nlines", "next"]
    assert [row.location for row in data] == [f"{path}:2", f"{path}:4"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b'{"text": "a", "label": 1}\n{"text": "a", \n', r"x\.jsonl:2: not valid JSON"),
        ("x.jsonl", b'{"text": "a", "label": 1}\n\n[1]\n', r"x\.jsonl:3: not a JSON object"),
        (
            "x.jsonl",
            b'{"text": "\xff"}\n',
            r"x\.jsonl:1: not valid UTF-8 \(byte 0xff at position 10",
        ),
        (
            "x.jsonl",
            b'{"txt": "a", "label": 1}\n',
            r":1: .*'text'.*; did you mean txt; name it with --text_f",
        ),
        (
            "x.jsonl",
            b'{"text": "a", "lable": 1}\n',
            r"did you mean lable; name it with --label_field",
        ),
        ("x.jsonl", b'{"text": 5, "label": 1}\n', r":1: field 'text' holds 5, not text"),
        ("x.jsonl", b'{"text": "a", "label": null}\n', r":1: .*'label' holds no label but null"),
        ("x.jsonl", b"\n", "no examples in"),
        ("x.tsv", b"text\tlabel\na\tb\nc\n", r"x\.tsv:3: 1 columns, the first line has 2"),
        ("x.tsv", b"text\tLabel\na\tb\n", r"x\.tsv:1: .*did you mean Label"),
        ("x.csv", b'text,label\n"a,b\n', r"x\.csv:2: not valid CSV"),
        ("x.csv", b"text,label\na,\xff\n", r"x\.csv:2: not valid UTF-8"),
        ("x.parquet", b"PAR1 no", "not a valid Parquet file"),
        ("x.jsonl.gz", b"plain text", "damaged or truncated"),
        (
            "x.jsonl.gz",
            gzip.compress(b'{"text": "a", "label": 1}\n' * 50, mtime=0)[:-9],
            "damaged or truncated",
        ),
        (
            "x.jsonl.gz",
            gzip.compress(b"{}" * 99, mtime=0)[:10] + b"no deflate",
            "damaged or truncated",
        ),
        ("x.jsonl", b'{"text": "a", "label": NaN}\n', r":1: .*'label' holds no label but NaN"),
        ("x.doc", b"", r"unknown kind of file; name it \.jsonl"),
    ],
)
def test_bad_input_is_told_in_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read(path)
    assert "\n" not in str(error.value)


def test_no_match(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--train: no file matches '.*none\*'"):
        read(tmp_path / "none*")


@pytest.mark.parametrize(
    ("label", "name"),
    [(1, "1"), (1.0, "1"), (0.5, "0.5"), (True, "true"), (" a ", "a"), (Decimal("1.00"), "1")],
)
def test_labels_as_names(label: Any, name: str) -> None:
    assert as_class_name(label) == name


def test_classes_are_in_the_order_of_numbers_or_names() -> None:
    assert class_names([10, 9, "1", 9]) == ["1", "9", "10"]
    assert class_names(["b", "10", "9"]) == ["10", "9", "b"]
    # Several names of one number: one order for ever.
    assert class_names(["2", "1_0", "1", "10", "+1", "01"]) == ["+1", "01", "1", "2", "10", "1_0"]


def test_labels_that_are_bytes_surrogates_or_large_numbers(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": b"pos"}, {"text": "b", "label": b"neg"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert [row.label for row in read(tmp_path / "x.parquet")] == ["pos", "neg"]
    rows[1]["label"] = b"\xff"
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"x\.parquet: row 2: not valid UTF-8"):
        read(tmp_path / "x.parquet")
    (tmp_path / "x.jsonl").write_text(
        '{"text": "\\ud800", "label": "\\ud800", "x": NaN}\n'
        '{"text": "b", "label": 123456789012345678901234567890}\n'
    )
    data = read(tmp_path / "x.jsonl")
    assert [row.text for row in data] == ["\ufffd", "b"]
    assert [row.label for row in data] == ["\ufffd", 123456789012345678901234567890]


def test_nan_as_a_label_in_parquet(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": 1.0}, {"text": "b", "label": float("nan")}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"x\.parquet: row 2: .*'label' holds no label but NaN"):
        read(tmp_path / "x.parquet")


def test_class_ids_and_labels_never_seen(tmp_path: Path) -> None:
    data = read(write_jsonl(tmp_path / "x.jsonl", [{"text": "t", "label": y} for y in (2, 1, 2)]))
    assert encode_labels(*columns(data), ["1", "2"], "training").tolist() == [
        1,
        0,
        1,
    ]
    with pytest.raises(
        UserError, match=r"x\.jsonl:2: label '1' was never seen in training \(its cl"
    ):
        encode_labels(*columns(data), ["2"], "training")


def test_numbers(tmp_path: Path) -> None:
    rows = [{"text": "t", "label": y} for y in (2, "0.5", -1.5)]
    data = read(write_jsonl(tmp_path / "x.jsonl", rows))
    assert encode_labels(*columns(data), [], "").tolist() == [2, 0.5, -1.5]
    for bad in ("high", "nan", "inf"):
        data = read(write_jsonl(tmp_path / "y.jsonl", [*rows, {"text": "t", "label": bad}]))
        with pytest.raises(UserError, match=rf"y\.jsonl:4: label '{bad}' is not a number"):
            encode_labels(*columns(data), [], "")


def test_empty_texts(tmp_path: Path) -> None:
    rows = [{"a": "", "b": " "}, {"a": "x", "b": ""}, {"a": "\n", "b": "y"}]
    path = write_jsonl(tmp_path / "x.jsonl", rows)
    single = read(path, text_field="a", label_field="")
    assert [row.is_empty() for row in single] == [True, False, True]
    pairs = read(path, text_field="a", text_pair_field="b", label_field="")
    assert [row.is_empty() for row in pairs] == [True, False, False]


def test_real_files(data_dir: Path) -> None:
    sst = read(data_dir / "glue" / "SST-2" / "train.tsv", text_field="sentence")
    assert len(sst) == 67349
    assert class_names(columns(sst)[0]) == ["0", "1"]
    cola = read(data_dir / "glue" / "CoLA" / "train.tsv", text_field="4", label_field="2")
    assert len(cola) == 8551
    imdb = read(data_dir / "imdb" / "train-00000-of-00008.jsonl.gz")
    assert len(imdb) > 3000
    assert class_names(columns(imdb)[0]) == ["0", "1"]

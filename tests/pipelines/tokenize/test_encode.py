"""The encoder against exact ids, with nanotoken and without it."""

from __future__ import annotations

import gzip
import json
import pickle
import random
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.documents.blocks import make_block
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.wordpiece import WordIds
from pipelines.text.words import split_words
from pipelines.tokenize import encode
from pipelines.tokenize.encode import Encoder

SMALL = Vocabulary(
    ("[UNK]", "[MASK]", "a", "b", "##a", "##b", "中", "[", "]", "mask", "##.", ".", "é", "##é")
)
# Characters that other encoders class otherwise than BERT does, among others.
HARD = "aAbé .[]中文가"
HARD += "\u0301\u061d\u08e2\U000110cd\u166d\u2e43𫠠\U000111c9\U00013430\ue000\u200d\xad\u2028"
LONG = ["a" * 100, "b" * 101, "é" * 101, "ก" * 60, "ก" * 101, "a" * 600]
MODES = [(True, True), (True, False), (False, True), (False, False)]


def exact(texts: list[str], words: WordIds, lowercase: bool, strip: bool) -> list[list[int]]:
    split = (split_words(text, lowercase=lowercase, strip_accents=strip) for text in texts)
    return [[piece for word in found for piece in words[word]] for found in split]


def as_lists(ids: np.ndarray, offsets: np.ndarray) -> list[list[int]]:
    assert ids.dtype == np.int32
    assert offsets.dtype == np.int64
    assert offsets[0] == 0
    assert offsets[-1] == len(ids)
    return [ids[i:j].tolist() for i, j in pairwise(offsets.tolist())]


@pytest.fixture(params=["fast", "plain"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "plain":
        monkeypatch.setattr(encode, "_prove_fast", lambda *_: None)
    return request.param


@lru_cache(maxsize=8)
def _small_encoder(engine: str, lowercase: bool, strip: bool) -> tuple[Encoder, WordIds]:
    encoder = Encoder(SMALL, lowercase, strip)
    fast = encode._prove_fast(encoder, encode.encode_plainly(encoder))
    assert (fast is not None) == (engine == "fast")
    return encoder, WordIds(SMALL)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("uncased", "bert-base-uncased"),
        ("cased", "bert-base-cased"),
        ("multi_cased", "bert-base-multilingual-cased"),
    ],
)
def test_reference_ids(data_dir: Path, engine: str, name: str, file: str) -> None:
    path = data_dir / "tokenizer" / "bert_reference_ids.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        rows = [json.loads(line) for line in lines]
    vocabulary = Vocabulary.load(data_dir / "vocab" / f"{file}-vocab.txt")
    encoder = Encoder(vocabulary, name == "uncased", name == "uncased")
    found = as_lists(*encoder.encode([row["text"] for row in rows]))
    google, theirs = f"google_{name}", f"hf_{name}"
    wrong = [
        row["text"]
        for row, ids in zip(rows, found, strict=True)
        if ids != (row[google] if row[theirs] is None else row[theirs])
    ]
    assert wrong == []


@pytest.mark.parametrize(("lowercase", "strip"), MODES)
def test_hard_strings(engine: str, lowercase: bool, strip: bool) -> None:
    encoder, words = _small_encoder(engine, lowercase, strip)
    draw = random.Random(1)
    choices = [*HARD, *HARD, *LONG, " ", " "]
    texts = ["".join(draw.choices(choices, k=draw.randrange(9))) for _ in range(3_000)]
    texts += ["", "\0", "[MASK]", "a" * 1_000_000, "中" * 1_000, "\u0301", " ", *LONG]
    assert as_lists(*encoder.encode(texts)) == exact(texts, words, lowercase, strip)


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from(HARD) | st.characters(codec="utf-8"), max_size=30)))
def test_any_text(texts: list[str]) -> None:
    for lowercase, strip in MODES:
        encoder, words = _small_encoder("fast", lowercase, strip)
        assert as_lists(*encoder.encode(texts)) == exact(texts, words, lowercase, strip)


def test_every_code_point_in_every_place(engine: str) -> None:
    """Alone, first, within and last in a word, after a full stop, and beside an ideograph."""
    encoder, words = _small_encoder(engine, True, True)
    # Not the bulk of ideographs, Hangul, private use, cuneiform, hieroglyphs and Tangut.
    uniform = {*range(0x3500, 0x4D00), *range(0x4F00, 0x9F00), *range(0xAD00, 0xE000)}
    uniform |= {*range(0xE100, 0xF800), *range(0x12000, 0x13400), *range(0x13500, 0x16900)}
    uniform |= {*range(0x17100, 0x1BC00)}
    codes = [c for c in range(0x1FB00) if c not in uniform]
    codes += [*range(0x2B800, 0x2BA00), *range(0xE0000, 0xE0200), 0x10FFFF]
    codes = codes if engine == "fast" else codes[::4]
    texts = [f"{c} {c}a a{c}b b{c} .{c} 中{c}中 {c}{c}" for c in map(chr, codes)]
    found, expected = as_lists(*encoder.encode(texts)), exact(texts, words, True, True)
    assert [c for c, f, e in zip(codes, found, expected, strict=True) if f != e] == []


@pytest.mark.parametrize(
    "name", ["wiki_en/wiki-00001-of-00004", "imdb/train-00000-of-00008", "gutenberg/books"]
)
def test_english_corpora(data_dir: Path, engine: str, name: str) -> None:
    _compare_with_exact(data_dir, name, "bert-base-uncased", True, True)


@pytest.mark.parametrize("name", ["de", "es", "ja", "ko", "zh"])
@pytest.mark.parametrize(("lowercase", "strip"), MODES)
def test_other_languages(data_dir: Path, name: str, lowercase: bool, strip: bool) -> None:
    file = "bert-base-uncased" if lowercase else "bert-base-multilingual-cased"
    _compare_with_exact(data_dir, f"multilingual/{name}", file, lowercase, strip)


def _compare_with_exact(
    data_dir: Path, name: str, file: str, lower: bool, strip: bool, count: int = 12
) -> None:
    vocabulary = Vocabulary.load(data_dir / "vocab" / f"{file}-vocab.txt")
    with gzip.open(data_dir / f"{name}.jsonl.gz", "rt", encoding="utf-8", newline="\n") as lines:
        texts = [json.loads(line)["text"][:10_000] for line in islice(lines, count)]
    found = as_lists(*Encoder(vocabulary, lower, strip).encode(texts))
    assert found == exact(texts, WordIds(vocabulary), lower, strip)


@pytest.mark.long
@pytest.mark.parametrize("lower", [True, False])
def test_whole_corpora_as_hugging_face(data_dir: Path, lower: bool) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    file = "bert-base-uncased" if lower else "bert-base-multilingual-cased"
    vocabulary = Vocabulary.load(data_dir / "vocab" / f"{file}-vocab.txt")
    theirs = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(
            vocabulary.index, unk_token="[UNK]", max_input_chars_per_word=100
        )
    )
    theirs.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lower)
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    encoder = Encoder(vocabulary, lower, lower)
    paths = [
        data_dir / "wiki_en/wiki-00000-of-00004.jsonl.gz",
        data_dir / "gutenberg/books.jsonl.gz",
    ]
    paths += [*sorted((data_dir / "imdb").glob("train-0000[0-3]*"))]
    paths += sorted((data_dir / "multilingual").glob("*.jsonl.gz"))
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
            while texts := [json.loads(line)["text"] for line in islice(lines, 64)]:
                found = as_lists(*encoder.encode(texts))
                expected = [e.ids for e in theirs.encode_batch_fast(texts)]
                assert found == expected, path


def test_a_block_may_begin_anywhere(engine: str) -> None:
    encoder, _ = _small_encoder(engine, True, True)
    block = make_block([b"ab", "a\u2e43".encode(), b"", b"ba a"])
    whole = as_lists(*encoder.encode_block(block.text, block.offsets))
    assert as_lists(*encoder.encode_block(block.text, block.offsets[1:])) == whole[1:]
    assert as_lists(*encoder.encode_block(block.text, block.offsets[:1])) == []
    assert as_lists(*encoder.encode([])) == []


def test_blocks_do_not_matter(engine: str) -> None:
    encoder, words = _small_encoder(engine, True, True)
    texts = [f"ab {HARD} ba", "", "a b.", "é" * 101] * 5
    assert as_lists(*encoder.encode(texts)) == exact(texts, words, True, True)
    single = [encoder.encode([text])[0].tolist() for text in texts]
    assert single == as_lists(*encoder.encode(texts))


def test_refuses_what_is_not_utf8(engine: str) -> None:
    encoder, _ = _small_encoder(engine, True, True)
    with pytest.raises(ValueError, match="not UTF-8"):
        encoder.encode_block(b"a\xff", np.array([0, 2]))


def test_threads_share_an_encoder(engine: str) -> None:
    encoder = Encoder(SMALL, True, True)
    texts = [f"{'a' * (i % 5)} b{chr(0x2E40 + i % 16)} {'b' * (i % 7)}" for i in range(400)]
    expected = exact(texts, WordIds(SMALL), True, True)
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda i: as_lists(*encoder.encode(texts[i : i + 50])), range(0, 400, 50))
        )
    assert [ids for block in found for ids in block] == expected


def test_pickles_before_and_after_use(engine: str) -> None:
    encoder = Encoder(SMALL, True, False)
    for _ in range(2):
        copy = pickle.loads(pickle.dumps(encoder))
        assert copy.encode(["Ab É"])[0].tolist() == encoder.encode(["Ab É"])[0].tolist()
        assert (copy.vocabulary, copy.lowercase, copy.strip_accents) == (SMALL, True, False)


@pytest.mark.parametrize("mark", ["_", "▁▁", "##"])
def test_any_suffix_indicator(engine: str, mark: str) -> None:
    vocabulary = Vocabulary(("[UNK]", "a", f"{mark}b"), suffix_indicator=mark)
    assert Encoder(vocabulary, True, True).encode(["ab b"])[0].tolist() == [1, 2, 0]


@pytest.mark.parametrize("probe", ["[MASK] and", "a" * 101, "s", "\u2e43", "ab"])
def test_an_engine_with_other_ids_is_found_out_and_not_used(
    probe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that differs for a single kind of string, whichever of those it is."""
    load = encode._load_nanotoken

    def load_wrong(encoder: Encoder) -> encode.Encode:
        right = load(encoder)

        def wrong(documents: Sequence[bytes]) -> encode.Ids:
            ids, offsets = right(documents)
            changed = ids.copy()
            for i, document in enumerate(documents):
                if probe.encode() in document:
                    changed[offsets[i] : offsets[i + 1]] += 1
            return changed, offsets

        return wrong

    monkeypatch.setattr(encode, "_load_nanotoken", load_wrong)
    encoder = Encoder(SMALL, True, True)
    assert encoder.encode([probe])[0].tolist() == exact([probe], WordIds(SMALL), True, True)[0]
    (line,) = capsys.readouterr().err.splitlines()
    assert "tokenizing without nanotoken, same ids but slower: its ids for" in line


def test_works_without_nanotoken_installed() -> None:
    program = """
import sys
sys.modules["nanotoken"] = None
from pipelines.tokenize.encode import Encoder
from pipelines.text.vocabulary import Vocabulary
encoder = Encoder(Vocabulary(("[UNK]", "a", "##b")), True, True)
print(encoder.encode(["AB, \\u2e43 a"])[0].tolist())
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[1, 2, 0, 0, 1]\n"
    assert ran.stderr.startswith("tokenizing without nanotoken, same ids but slower: ")


def test_memory_is_bounded_over_a_corpus_of_only_new_words() -> None:
    """Its cache of words holds about a million entries: twice the new words do not double it."""
    program = """
import resource
from pipelines.tokenize.encode import Encoder
from pipelines.text.vocabulary import Vocabulary
letters = "abcdefghijklmnopqrstuvwxyz"
encoder = Encoder(Vocabulary(("[UNK]", *letters, *(f"##{c}" for c in letters))), True, True)
def encode(first, last):
    for start in range(first, last, 50_000):
        encoder.encode([" ".join(f"{i:x}".translate(table) for i in range(start, start + 50_000))])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
table = str.maketrans("0123456789", "ghijklmnop")
print(encode(0, 1_500_000), encode(1_500_000, 3_000_000))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    before, after = map(int, ran.stdout.split())
    assert after < before + 60, ran.stdout


def test_importing_it_loads_no_tensorflow() -> None:
    program = "import sys, pipelines.tokenize.encode; print('tensorflow' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "False"

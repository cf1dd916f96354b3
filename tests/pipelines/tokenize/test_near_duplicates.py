"""Near-duplicates: what signatures say of documents, and which of them stay, however they arrive."""

from __future__ import annotations

import dataclasses
import itertools
import json
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipelines.command.options import deciding_fields
from pipelines.command.parse import parse_command
from pipelines.command.run import RunOptions
from pipelines.documents.blocks import content_id
from pipelines.errors import UserError
from pipelines.records.manifest import read_manifest, read_split
from pipelines.records.ragged import Columns, Ragged, concatenate, offsets_of, take
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.find_near_duplicates import ARRIVED, SENT, check_sending
from pipelines.tokenize.near_duplicates import (
    ROUNDS,
    count_clusters,
    label,
    large_star,
    link_alike,
    part_of,
    sign_documents,
    small_star,
    small_star_both_ways,
    with_marks,
)
from pipelines.tokenize.pipeline import tokenize
from pipelines.tokenize.shown_clusters import (
    ClusterPart,
    choose_documents,
    list_clusters,
    sized_clusters,
)
from pipelines.tokenize.signatures import (
    HASHES,
    SHINGLE,
    band_length,
    estimate_similarity,
    pack,
    sign,
)
from tests.pipelines.conftest import make_texts, write_jsonl


def ragged(lists: list[list[int]]) -> Ragged:
    values = np.array([v for part in lists for v in part], np.uint16)
    return Ragged(values, offsets_of(np.array([len(part) for part in lists])))


def similarity(left: list[int], right: list[int]) -> float:
    """Jaccard's, of the runs of ``SHINGLE`` tokens."""
    sets = [
        {tuple(ids[i : i + SHINGLE]) for i in range(max(1, len(ids) - SHINGLE + 1))}
        for ids in (left, right)
    ]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@pytest.mark.parametrize("length", [2, 7, 40, 600])
def test_places_agree_as_often_as_documents_are_alike(length):
    random = np.random.default_rng(length)
    pairs, expected = [], []
    for _ in range(200):
        left = random.integers(0, 30_000, length)
        right = np.where(random.random(length) < 0.06, random.integers(0, 30_000, length), left)
        pairs += [left.tolist(), right.tolist()]
        expected.append(similarity(*pairs[-2:]))
    signatures = sign(ragged(pairs))
    assert signatures.shape == (400, HASHES)
    agree = (signatures[::2] == signatures[1::2]).mean(axis=1)
    packed = pack(signatures)
    for estimates in (agree, estimate_similarity(packed[::2], packed[1::2])):
        errors = estimates - np.array(expected)
        assert abs(errors.mean()) < 0.015
        assert errors.std() < 0.07


def test_a_signature_is_of_the_document_alone():
    random = np.random.default_rng(1)
    documents = [random.integers(0, 99, n).tolist() for n in (1, 4, 5, 6, 90, 3, 100_000, 20, 1)]
    together = sign(ragged(documents))
    for number, document in enumerate(documents):
        assert np.array_equal(sign(ragged([document]))[0], together[number])
    assert not len(sign(ragged([])))
    # What a document says twice counts once; another order is another document.
    assert np.array_equal(sign(ragged([[7] * 5])), sign(ragged([[7] * 50])))
    assert (sign(ragged([[1, 2]])) != sign(ragged([[2, 1]]))).mean() > 0.9


def test_bands_are_as_long_as_finds_what_is_asked_for():
    assert band_length(0.7, 20) == 5  # 1 - (1 - 0.7 ** 5) ** 20 = 0.975, with 6 places 0.918
    assert band_length(0.9, 20) == HASHES // 20  # all that there are
    assert band_length(0.1, 1) == 1


def test_documents_of_a_band_are_linked_where_their_signatures_are_alike():
    left, right = np.zeros((1, 32), np.uint8), np.full((1, 32), 255, np.uint8)
    entries: Columns = {
        "key": np.array([5, 5, 5, 5, 5, 6, 6, 7], np.uint64),
        "doc_ids": np.array([40, 10, 30, 20, 40, 10, 40, 50], np.uint64),
        "packed": np.concatenate([left, right, right, left, left, right, left, left]),
    }
    links = link_alike(entries, 0.7)
    found = sorted(zip(links["at"].tolist(), links["other"].tolist(), strict=True))
    # 30 is like the smallest, 10; the others are compared with the smallest of them, 20.
    assert found == [(10, 30), (20, 40), (30, 10), (40, 20)]


def in_parts(work, links: Columns, parts: int = 7) -> Columns:
    """As workers do it that see one part each."""
    part = part_of(links["at"], parts)
    return concatenate([work(take(links, np.flatnonzero(part == p))) for p in range(parts)])


def tie(pairs: list[tuple[int, int]], rounds: int) -> Columns:
    left, right = (np.array(side, np.uint64) for side in zip(*pairs, strict=True))
    links: Columns = {"at": np.append(left, right), "other": np.append(right, left)}
    for number in range(rounds):
        last = number == rounds - 1
        links = in_parts(large_star, links)
        links = in_parts(small_star if last else small_star_both_ways, links)
    return in_parts(label, links)


def components(pairs: list[tuple[int, int]]) -> dict[int, int]:
    """The smallest of its component, for all others."""
    parent: dict[int, int] = {}

    def root(x: int) -> int:
        while parent.setdefault(x, x) != x:
            x = parent[x]
        return x

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return {x: root(x) for x in parent if root(x) != x}


@pytest.mark.parametrize("seed", range(20))
def test_clusters_are_connected_components(seed):
    random = np.random.default_rng(seed)
    ids = random.integers(0, 1 << 63, 200)
    pairs = [(int(a), int(b)) for a, b in random.choice(ids, (120, 2)) if a != b]
    labels = tie(pairs, ROUNDS + 3)
    found = dict(zip(labels["at"].tolist(), labels["other"].tolist(), strict=True))
    assert found == components(pairs)
    counts = in_parts_counted(labels)
    sizes = Counter(Counter(found.values()).values())
    expected = Counter()
    for members, clusters in sizes.items():
        most = 1 << int(np.ceil(np.log2(members + 1)))
        expected[f"near_duplicate_clusters_up_to_{most}"] += clusters
    assert +counts == expected


def in_parts_counted(labels: Columns, parts: int = 5) -> Counter[str]:
    marked = with_marks(labels)
    part = part_of(marked["at"], parts)
    counts: Counter[str] = Counter()
    for p in range(parts):
        counts.update(count_clusters(take(marked, np.flatnonzero(part == p))))
    return counts


def test_a_chain_too_long_for_the_rounds_keeps_more_than_one_and_says_so():
    ids = np.random.default_rng(0).integers(0, 1 << 63, 1000).tolist()
    chain = list(itertools.pairwise(ids))
    labels = tie(chain, ROUNDS)
    left = set(ids) - set(labels["at"].tolist())
    assert min(ids) in left
    assert 1 < len(left) < 50
    assert in_parts_counted(labels)["near_duplicate_clusters_cut"] > 0


def edited(text: str, count: int, seed: int) -> str:
    words = text.split()
    for place in np.random.default_rng(seed).choice(len(words), count, replace=False):
        words[place] = "lokami"
    return " ".join(words)


@pytest.fixture(scope="module")
def near_texts() -> list[str]:
    """60 long documents, 20 of them with three that differ in a word or two, and short ones."""
    long = [text for text in make_texts(200, seed=3, longest=300) if len(text.split()) > 150][:60]
    copies = [edited(t, 1 + k, 9 * i + k) for i, t in enumerate(long[:20]) for k in range(3)]
    return [*long, *copies, *make_texts(100, seed=4, longest=40), *long[30:33]]


@pytest.fixture(scope="module")
def near_dir(tmp_path_factory, near_texts, vocab_dir) -> Path:
    folder = tmp_path_factory.mktemp("near")
    write_jsonl(folder / "in" / "all.jsonl", near_texts)
    run(folder / "in", vocab_dir, folder / "rows")
    return folder / "rows"


def run(corpus: Path, vocab_dir: Path, output: Path, *beam_args: str, **fields) -> TokenizeConfig:
    defaults = {"deduplicate": "near", "seq_length": 64, "num_shards": 3}
    config = TokenizeConfig(
        input=(str(corpus),),
        vocab=str(vocab_dir),
        output=str(output),
        validation_fraction=0.1,
        **{**defaults, **fields},
    )
    tokenize(config, RunOptions(beam_args=beam_args or ("--direct_num_workers=1",)))
    return config


def owners(folder: Path) -> set[int]:
    manifest = read_manifest(str(folder))
    return {
        doc_id
        for split in manifest.splits
        for rows in read_split(str(folder), manifest, split)
        for doc_id in rows["doc_ids"].values.tolist()
    }


def contents(folder: Path) -> dict[str, bytes]:
    names = (path for path in folder.iterdir() if path.name not in ("run.json", ".lock"))
    return {path.name: path.read_bytes() for path in names}


def test_of_near_duplicates_the_smallest_stays_and_the_rest_is_counted(near_dir, near_texts):
    ids = [content_id(text.encode()) for text in near_texts]
    expected = {*ids} - {*ids[:20], *ids[60:120]}
    expected |= {min(ids[i], *ids[60 + 3 * i : 63 + 3 * i]) for i in range(20)}
    assert owners(near_dir) == expected
    manifest = read_manifest(str(near_dir))
    counts = manifest.counts
    assert counts["documents_dropped_near_duplicate"] == 60
    assert counts["documents_dropped_duplicate"] == len(ids) - len({*ids})
    assert counts["near_duplicate_clusters_up_to_4"] == 20
    assert counts["near_duplicate_clusters_cut"] == 0
    assert counts["documents_out"] == len(expected)
    assert SENT not in counts
    assert "near_bands" not in manifest.config


def test_some_clusters_are_shown(near_dir, near_texts):
    """By the beginnings of the document that stays and of those that go: here all 20, of 4 each."""
    lines = (near_dir / "near_duplicates.jsonl").read_text().splitlines()
    shown = [json.loads(line) for line in lines]
    ids = [f"{content_id(text.encode()):016x}" for text in near_texts]
    text_of = dict(zip(ids, near_texts, strict=True))
    clusters = [sorted({ids[i], *ids[60 + 3 * i : 63 + 3 * i]}) for i in range(20)]
    listed = [[each["kept"], *each["dropped"]] for each in shown]
    assert [[each["doc_id"] for each in cluster] for cluster in listed] == sorted(clusters)
    assert {each["documents"] for each in shown} == {4}
    for each in itertools.chain(*listed):
        assert len(each["text"]) > 200
        folded = unicodedata.normalize("NFD", text_of[each["doc_id"]])
        bare = "".join(c for c in folded if not unicodedata.combining(c))
        assert bare.replace(" ", "").startswith(each["text"].replace(" ", ""))


def test_the_clusters_shown_do_not_depend_on_how_they_are_cut(monkeypatch):
    monkeypatch.setattr("pipelines.tokenize.shown_clusters._CLUSTERS", 5)
    random = np.random.default_rng(1)
    ids = random.choice(1 << 40, 4000, replace=False).astype(np.uint64)
    kept, dropped = ids[:500], ids[500:]
    labels = {"at": dropped, "other": random.choice(kept, len(dropped))}
    found = []
    for parts in (1, 7):
        cut = dropped % np.uint64(parts)
        chosen = concatenate(
            [choose_documents(take(labels, np.flatnonzero(cut == p))) for p in range(parts)]
        )
        texts = [
            ClusterPart(other, texts={at: f"{at}"})
            for at, other in zip(*(chosen[name].tolist() for name in ("at", "other")), strict=True)
        ]
        sizes = [
            part
            for p in range(parts)
            for part in sized_clusters(
                *(column[kept % np.uint64(parts) == p] for column in (kept, np.full(500, 8)))
            )
        ]
        found.append(list(list_clusters([*texts, *sizes])))
    assert found[0] == found[1]
    assert len(found[0]) == 5
    assert all(len(cluster["dropped"]) == 3 for cluster in found[0])


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_same_documents_stay_however_it_is_run(
    tmp_path, near_dir, near_texts, vocab_dir, monkeypatch, shuffled
):
    where = "pipelines.tokenize.find_near_duplicates"
    monkeypatch.setattr(f"{where}.documents_to_cut", lambda shards: 20)
    monkeypatch.setattr(f"{where}._MOST_LINK_PARTS", 3)
    monkeypatch.setattr("pipelines.documents.blocks.BLOCK_BYTES", 5_000)
    corpus = near_dir.parent / "in"
    beam_args = ("--direct_num_workers=3",)
    if shuffled:  # in memory, as where workers share no disk; and so is the input
        monkeypatch.setattr("pipelines.tokenize.pipeline.runs_here", lambda _: False)
        beam_args = ("--runner=BundleBasedDirectRunner",)
        corpus = tmp_path / "in"
        for part in range(3):
            write_jsonl(corpus / f"{part}.jsonl", near_texts[::-1][part::3])
    run(corpus, vocab_dir, tmp_path / "rows", *beam_args)
    assert contents(tmp_path / "rows") == contents(near_dir)


def test_exact_duplicates_go_wherever_in_the_corpus_they_are(tmp_path, near_texts, vocab_dir):
    """A document's shard is drawn from its text, so those of one text always meet."""
    for part in range(4):
        write_jsonl(tmp_path / "in" / f"{part}.jsonl", near_texts)
    run(tmp_path / "in", vocab_dir, tmp_path / "rows", deduplicate=True, num_shards=7)
    counts = read_manifest(str(tmp_path / "rows")).counts
    assert counts["documents_out"] == len({*near_texts})
    assert counts["documents_dropped_duplicate"] == 4 * len(near_texts) - len({*near_texts})


def test_how_alike_is_asked_for():
    config = TokenizeConfig(input=("x",), vocab="x", output="x")
    assert not {"near_similarity", "near_bands"} & deciding_fields(config).keys()
    assert deciding_fields(dataclasses.replace(config, near_bands=8))["near_bands"] == 8
    for field, value in (("near_similarity", 0.0), ("near_bands", 65)):
        with pytest.raises(UserError, match=f"--{field} {value}: must be between"):
            dataclasses.replace(config, deduplicate="near", **{field: value}).check()


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ([], False),
        (["--deduplicate"], True),
        (["--deduplicate", "none"], False),
        (["--deduplicate", "exact"], True),
        (["--deduplicate=true"], True),
        (["--deduplicate=False"], False),
        (["--deduplicate", "near"], "near"),
    ],
)
def test_a_switch_that_became_a_choice_still_is_a_switch(words, value):
    arguments = ["--input", "x", "--vocab", "x", "--output", "x", *words]
    config, _ = parse_command(TokenizeConfig, "tokenize", "pipelines.tokenize", arguments)
    assert config.deduplicate is value or config.deduplicate == value == "near"


def test_another_word_is_refused():
    arguments = ["--input", "x", "--vocab", "x", "--output", "x", "--deduplicate", "fuzzy"]
    with pytest.raises(UserError, match="--deduplicate: expected none, exact, near, not 'fuzzy'"):
        parse_command(TokenizeConfig, "tokenize", "pipelines.tokenize", arguments)


def test_a_table_that_is_lost_is_noticed():
    with pytest.raises(RuntimeError, match="tables of near-duplicates do not balance"):
        check_sending(Counter({SENT: 3, ARRIVED: 2}))


def test_planted_edits_are_found(vocab_dir):
    """Of documents of 1,000 tokens, by how much of them was edited: the curve of the threshold."""
    random = np.random.default_rng(0)
    originals = [random.integers(0, 30_000, 1000) for _ in range(100)]
    found = {}
    for rate in (0.01, 0.05, 0.2):
        copies = [
            np.where(random.random(1000) < rate, random.integers(0, 30_000, 1000), ids)
            for ids in originals
        ]
        tokens = ragged([ids.tolist() for ids in [*originals, *copies]])
        documents = {"token_ids": tokens, "doc_ids": np.arange(200, dtype=np.uint64)}
        signed = sign_documents(documents, 0.5, 20)
        keys = signed.pop("keys")
        rows = np.arange(keys.size) // keys.shape[1]
        links = link_alike({"key": keys.reshape(-1), **take(signed, rows)}, 0.5)
        linked = {*zip(links["at"].tolist(), links["other"].tolist(), strict=True)}
        assert linked <= {(a, b) for a in range(200) for b in (a - 100, a + 100)}
        found[rate] = sum((i, i + 100) in linked for i in range(100))
    assert found[0.01] == 100  # similarity 0.91
    assert found[0.05] >= 95  # 0.63
    assert found[0.2] == 0  # 0.20

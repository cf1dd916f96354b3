from __future__ import annotations

import doctest
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.quickstart_corpus import docstring_sources, docstring_task
from launch.quickstart_corpus.docstring_sources import (
    SourceFile,
    clean_docstring,
    find_sources,
    is_prose,
    limit_sources,
    read_docstrings,
)
from launch.quickstart_corpus.docstring_task import (
    DocstringsConfig,
    find_near_duplicates,
    hide_names,
    library_names,
    share_fairly,
)
from launch.quickstart_corpus.docstrings import make_docstrings
from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.keyed_random import below, fold, purpose_key

WORDS = (
    "returns the value that a caller asked for when there is one and raises an error if none of"
    " given keys can be found among those which were stored before by this or any other writer"
)


def sentence(number: int, length: int = 30) -> str:
    """A text of real words, different for each number."""
    words = WORDS.split()
    draws = below(fold(purpose_key(number, "test"), np.arange(length)), len(words))
    return " ".join(words[draw] for draw in draws) + "."


def write_package(folder: Path, name: str, texts: list[str]) -> None:
    functions = [f'def f{i}():\n    """{text}"""\n' for i, text in enumerate(texts)]
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("\n".join(functions), encoding="utf-8")


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    for start, name in enumerate(("numpy", "Gamma", "delta")):
        write_package(folder, name, [f"Uses {name}. {sentence(i)}" for i in range(start, 180, 3)])
    write_package(folder, "copies", [f"Uses copies. {sentence(i)}" for i in range(0, 30, 3)])
    return folder


def config_for(packages: Path, output: Path, **changes: object) -> DocstringsConfig:
    fields: dict[str, Any] = {"train_per_label": 20, "validation_per_label": 10, **changes}
    return DocstringsConfig(folders=(str(packages),), output=str(output), **fields)


def read_jsonl(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_worked_examples_of_the_docstrings_hold() -> None:
    results = [doctest.testmod(module) for module in (docstring_sources, docstring_task)]
    assert sum(result.attempted for result in results) >= 3
    assert not any(result.failed for result in results)


def test_clean_docstring_drops_fences_and_directives_and_keeps_paragraphs() -> None:
    text = "One\nline.\n\n```python\nx = 1\n```\n.. note::\n    Kept text.\n\n======\n\nLast."
    assert clean_docstring(text) == "One line.\nKept text.\nLast."


def test_is_prose_wants_words_not_code() -> None:
    assert is_prose(sentence(1))
    assert not is_prose("Too short to learn from.")
    assert not is_prose("x = f(a[0], b[1]) + g(c{2}) ** 2; " * 10 + "and a few words " * 4)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("np.sum of a NumPy array", "sum of a array"),
        ("see jax.numpy.sin and JNP.cos.", "see sin and cos."),
        ("an input, not an unp or inpx", "an input, not an unp or inpx"),
        ("cpython_only in CPython", "_only in"),
    ],
)
def test_hide_names_in_dotted_names_and_whatever_case(text: str, hidden: str) -> None:
    assert hide_names(text, library_names([])) == hidden


def test_read_docstrings_finds_every_definition_and_survives_bad_files(tmp_path: Path) -> None:
    prose = sentence(5)
    path = tmp_path / "module.py"
    path.write_text(
        f'"""{prose} a"""\nclass C:\n    """{prose} b"""\n'
        f'    async def m(self):\n        """{prose} c"""\n'
        f'try:\n    if 1:\n        def g():\n            """{prose} d"""\n'
        "except ImportError:\n    pass\n"
        'def short():\n    """Too short."""\n',
        encoding="utf-8",
    )
    found = read_docstrings(SourceFile(str(path), "p", "p.module", 1))
    assert found is not None
    assert found[0] == 5
    assert {(d.source, d.text[-1], d.label) for d in found[1]} == {
        ("p.module", "a", "p"),
        ("p.module.C", "b", "p"),
        ("p.module.C.m", "c", "p"),
        ("p.module.g", "d", "p"),
    }
    path.write_bytes(b"print 'python 2' \xff")
    assert read_docstrings(SourceFile(str(path), "p", "p.module", 1)) is None


def test_find_sources_skips_tests_and_vendored_code(packages: Path) -> None:
    for folder in ("numpy/tests", "numpy/_vendor/six", "numpy/core", "some-1.0.dist-info"):
        (packages / folder).mkdir(parents=True)
        (packages / folder / "x.py").write_text("pass")
    (packages / "single.py").write_text("pass")
    found = [(source.module, source.label) for source in find_sources([str(packages)])]
    assert found == [
        ("Gamma", "Gamma"),
        ("copies", "copies"),
        ("delta", "delta"),
        ("numpy", "numpy"),
        ("numpy.core.x", "numpy"),
        ("single", "single"),
    ]
    (packages / "ast.py").write_text("pass")
    assert {source.label for source in find_sources([str(packages)])} == {"python"}


def test_limit_sources_bounds_each_package_whatever_the_order() -> None:
    sources = [SourceFile("", label, f"{label}.{i}", 10) for label in "ab" for i in range(20)]
    kept = limit_sources(sources, 55, seed=1)
    assert kept == limit_sources(sources[::-1], 55, seed=1)
    assert [sum(s.size for s in kept if s.label == label) for label in "ab"] == [50, 50]
    assert kept != limit_sources(sources, 55, seed=2)


def test_near_duplicates_are_grouped_and_others_are_not() -> None:
    texts = [sentence(i, 60) for i in range(40)]
    changed = texts[7].split()
    changed[30] = "another"
    texts += [" ".join(changed), texts[8].upper().replace(" ", "\n"), "numpy " + texts[9]]
    group = find_near_duplicates(texts, frozenset({"numpy"}))
    assert group.tolist() == [*range(40), 7, 8, 9]


@given(st.lists(st.integers(0, 12), max_size=25), st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_the_order(numbers: list[int], random: object) -> None:
    texts = [sentence(i, 20) for i in numbers]
    order = list(range(len(texts)))
    random.shuffle(order)  # type: ignore[attr-defined]
    group = find_near_duplicates(texts)
    shuffled = find_near_duplicates([texts[i] for i in order])
    back = np.empty(len(texts), np.int64)
    back[order] = [order[i] for i in shuffled]
    for a in range(len(texts)):
        assert (group == group[a]).tolist() == (back == back[a]).tolist()
        assert all((group[a] == group[b]) or texts[a] != texts[b] for b in range(len(texts)))


@given(st.lists(st.integers(0, 1000), max_size=12), st.integers(0, 5000))
def test_share_fairly_gives_no_more_than_there_is(sizes: list[int], total: int) -> None:
    shares = share_fairly(sizes, total)
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    assert sum(shares) <= total
    assert min(total, sum(sizes)) - sum(shares) < max(1, len(sizes))
    for share, size in zip(shares, sizes, strict=True):
        assert share == size or share >= max(shares) - len(sizes)


def test_corpus_and_task_from_packages(packages: Path, tmp_path: Path) -> None:
    make_docstrings(config_for(packages, tmp_path / "out"), RunOptions())
    corpus, train, validation = (
        read_jsonl(tmp_path / "out" / f"{name}.jsonl") for name in ("corpus", "train", "validation")
    )
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    labels = {row["label"] for row in train}
    # What two packages say in the same words is no part of the task, and in the corpus once.
    assert labels == {"numpy", "Gamma", "delta"}
    assert manifest["facts"]["validation_labels"] == dict.fromkeys(sorted(labels), 10)
    assert manifest["facts"]["train_labels"] == dict.fromkeys(sorted(labels), 20)
    assert manifest["counts"]["docstrings_dropped_near_duplicate"] == 10
    assert len(corpus) == 180 - len(validation)
    shared = {sentence(i) for i in range(0, 30, 3)}
    for row in train + validation:
        assert row["source"].startswith(row["label"])
        assert not any(name in row["text"].lower() for name in ("numpy", "gamma", "delta"))
        assert row["text"].removeprefix("Uses ") not in shared
    texts = [row["text"].split(" ", 2)[2] for row in corpus]
    kept_back = {row["text"].removeprefix("Uses ").removeprefix(". ") for row in validation}
    assert not kept_back & set(texts)
    assert not kept_back & {row["text"].removeprefix("Uses ") for row in train}


def test_same_bytes_wherever_and_another_selection_for_another_seed(
    packages: Path, tmp_path: Path
) -> None:
    make_docstrings(config_for(packages, tmp_path / "one"), RunOptions())
    moved = tmp_path / "elsewhere"
    shutil.copytree(packages, moved)
    make_docstrings(config_for(moved, tmp_path / "two"), RunOptions())
    make_docstrings(config_for(packages, tmp_path / "three", seed=1), RunOptions())
    for name in ("corpus.jsonl", "train.jsonl", "validation.jsonl", "manifest.json"):
        one, two, three = ((tmp_path / out / name).read_bytes() for out in ("one", "two", "three"))
        assert one == two
        assert one != three


def test_a_small_corpus_has_all_packages(packages: Path, tmp_path: Path) -> None:
    make_docstrings(config_for(packages, tmp_path / "out", max_bytes=6000), RunOptions())
    corpus = read_jsonl(tmp_path / "out" / "corpus.jsonl")
    assert 5000 < sum(len(row["text"].encode()) for row in corpus) <= 6000
    assert {row["source"].split(".")[0] for row in corpus} >= {"numpy", "Gamma", "delta"}


def test_finished_output_is_recognised_and_an_interrupted_one_made_again(
    packages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    config = config_for(packages, output)
    make_docstrings(config, RunOptions())
    corpus = (output / "corpus.jsonl").read_bytes()
    capsys.readouterr()
    make_docstrings(config, RunOptions())
    assert "finished already" in capsys.readouterr().out
    with pytest.raises(UserError, match="seed was 0, now 3"):
        make_docstrings(config_for(packages, output, seed=3), RunOptions())
    (packages / "more.py").write_text(f'"""{sentence(999)}"""')
    with pytest.raises(UserError, match="input files have changed"):
        make_docstrings(config, RunOptions())
    (packages / "more.py").unlink()
    (output / "manifest.json").unlink()
    (output / "corpus.jsonl").write_bytes(corpus[:100])
    make_docstrings(config, RunOptions())
    assert (output / "corpus.jsonl").read_bytes() == corpus


def test_nothing_of_somebody_is_overwritten(packages: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text("mine")
    with pytest.raises(UserError, match=r"holds corpus\.jsonl, which is not known"):
        make_docstrings(config_for(packages, tmp_path), RunOptions(overwrite=True))
    assert (tmp_path / "corpus.jsonl").read_text() == "mine"


def test_bad_options_are_told(packages: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="no Python files"):
        make_docstrings(config_for(empty, tmp_path / "o"), RunOptions())
    with pytest.raises(UserError, match="is not a folder"):
        make_docstrings(config_for(packages / "none", tmp_path / "o"), RunOptions())
    with pytest.raises(UserError, match=r"--labels 1: must be at least 2"):
        make_docstrings(config_for(packages, tmp_path / "o", labels=1), RunOptions())
    with pytest.raises(UserError, match="have 200 docstrings or more, two are needed"):
        make_docstrings(
            config_for(packages, tmp_path / "o", validation_per_label=100), RunOptions()
        )
    assert not (tmp_path / "o" / "manifest.json").exists()

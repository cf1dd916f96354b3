"""The tf_text learner against the library it must equal, and what must always hold."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.vocab.learn_tf_text import learn_tf_text
from pipelines.vocab.select_words import select_words

RESERVED = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """The library's learner, which is plain Python, without TensorFlow's import."""
    package = importlib.util.find_spec("tensorflow_text")
    if package is None or not package.submodule_search_locations:
        pytest.skip("tensorflow_text is not installed")
    folder = Path(package.submodule_search_locations[0]) / "tools" / "wordpiece_vocab"
    spec = importlib.util.spec_from_file_location(
        "reference", folder / "wordpiece_tokenizer_learner_lib.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SELECTING = ("max_input_tokens", "max_token_length", "max_unique_chars")


def learn(words: dict[str, int], *, reserved_tokens: list[str], **options: Any) -> list[str]:
    selecting = {name: options.pop(name) for name in SELECTING if name in options}
    counts = np.array(list(words.values()), np.int64)
    selected = select_words(list(words), counts, reserved_tokens=reserved_tokens, **selecting)
    return learn_tf_text(selected, reserved_tokens=reserved_tokens, **options).tokens


letters = st.sampled_from(["ab", "abc#", "a#", "aé漢😀", "abcdefgh"])
all_options = st.fixed_dictionaries(
    {
        "vocab_size": st.integers(0, 60),
        "reserved_tokens": st.sampled_from([[], ["[UNK]", "a"], ["##a", "ab", "##ab", "ab"]]),
        "upper_thresh": st.sampled_from([10**7, None, 5, 1]),
        "lower_thresh": st.sampled_from([10, None, 3, 1, 0]),
        "num_iterations": st.integers(0, 5),
        "max_input_tokens": st.sampled_from([5_000_000, -1, 0, 3, 10]),
        "max_token_length": st.sampled_from([50, 4, 1]),
        "max_unique_chars": st.sampled_from([1000, 2, 0]),
        "slack_ratio": st.sampled_from([0.05, 0, 0.5, -1]),
        "joiner": st.sampled_from(["##", "#", "", "a"]),
    }
)


@settings(deadline=None, max_examples=600)
@given(st.data(), letters, all_options)
def test_equals_the_reference_on_small_alphabets(
    reference: ModuleType, data: st.DataObject, letters: str, options: dict[str, Any]
) -> None:
    words = data.draw(
        st.dictionaries(
            st.text(letters, max_size=8),
            st.one_of(st.integers(1, 30), st.just(2**50)),
            min_size=1,
            max_size=40,
        )
    )
    # In this order the reference, too, breaks ties at max_input_tokens by the word.
    assert learn(words, **options) == reference.learn(sorted(words.items()), **options)


@settings(deadline=None, max_examples=600)
@given(
    st.dictionaries(st.text("a#", min_size=1, max_size=6), st.integers(1, 9), min_size=3),
    st.integers(5, 30),
    st.sampled_from(["#", "##", "a"]),
    st.sampled_from([[], ["##a", "#a"]]),
)
def test_equals_the_reference_where_plain_and_continued_pieces_read_alike(
    reference: ModuleType, words: dict[str, int], vocab_size: int, joiner: str, reserved: list[str]
) -> None:
    options: dict[str, Any] = {"vocab_size": vocab_size, "lower_thresh": 1, "slack_ratio": 0}
    options |= {"joiner": joiner, "reserved_tokens": reserved}
    assert learn(words, **options) == reference.learn(sorted(words.items()), **options)


@settings(deadline=None, max_examples=30)
@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=6), st.integers(1, 3), min_size=2),
    st.randoms(use_true_random=False),
)
def test_order_does_not_matter(words: dict[str, int], random: Any) -> None:
    options: dict[str, Any] = {
        "vocab_size": 20,
        "reserved_tokens": [],
        "lower_thresh": 1,
        "max_input_tokens": len(words) // 2,
    }
    items = list(words.items())
    random.shuffle(items)
    assert learn(dict(items), **options) == learn(words, **options)


def commonest_words(texts: list[str], number: int) -> dict[str, int]:
    counts = Counter(w for text in texts for w in re.findall(r"\w+|[^\w\s]", text.lower()))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:number])


@pytest.mark.parametrize(
    "name",
    ["imdb/train-00000-of-00008", *(f"multilingual/{n}" for n in ("de", "es", "ja", "ko", "zh"))],
)
@pytest.mark.parametrize(("vocab_size", "lower_thresh"), [(1200, 2), (800, 10)])
def test_equals_the_reference_on_real_words(
    reference: ModuleType, data_dir: Path, name: str, vocab_size: int, lower_thresh: int
) -> None:
    with gzip.open(data_dir / f"{name}.jsonl.gz", "rt", encoding="utf-8", newline="\n") as lines:
        texts = [
            json.loads(line)["text"][:10_000] for line, _ in zip(lines, range(200), strict=False)
        ]
    # The reference takes long over the long words of languages without spaces.
    words = commonest_words(texts, 1200 if name.startswith("imdb") else 500)
    options: dict[str, Any] = {
        "vocab_size": vocab_size,
        "reserved_tokens": RESERVED,
        "lower_thresh": lower_thresh,
    }
    assert learn(words, **options) == reference.learn(sorted(words.items()), **options)


def test_equals_the_reference_on_naughty_strings(reference: ModuleType, data_dir: Path) -> None:
    texts = json.loads((data_dir / "tokenizer" / "blns.json").read_text(encoding="utf-8"))
    # Of long words the reference looks at very many pieces.
    words = Counter(word[:20] for text in texts for word in text.split())
    options: dict[str, Any] = {"vocab_size": 2000, "reserved_tokens": RESERVED, "lower_thresh": 1}
    for unique in (1000, 60):
        options["max_unique_chars"] = unique
        assert learn(words, **options) == reference.learn(sorted(words.items()), **options)


def test_reports_threshold_and_why_the_list_is_short() -> None:
    selected = select_words(["walk", "walked"], np.array([20, 30]), reserved_tokens=["[UNK]"])
    learned = learn_tf_text(selected, vocab_size=100, reserved_tokens=["[UNK]"])
    # 25, 22, 20 and 19 are tried: all leave too few, and at 19 the bounds have met.
    assert learned.threshold == 19
    assert (
        learned.reason_smaller == "the search for a threshold ended at 19, which leaves 15 tokens"
    )
    assert learned.tokens[:9] == ["[UNK]", "a", "d", "e", "k", "l", "w", "walked", "walk"]
    assert len(learned.tokens) == 15

"""Which docstrings make the corpus, and which the task "what library is this from?".

Near-duplicates are found by shingles of words; libraries' names are taken out of the task's texts,
and no text of its validation part is in the corpus or in its training part.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from launch.quickstart_corpus.docstring_sources import STANDARD_LIBRARY, Docstring, is_prose
from pipelines.command.options import CHOOSE, option
from pipelines.documents.blocks import content_id
from pipelines.errors import UserError
from pipelines.keyed_random import fold, purpose_key
from pipelines.records.ragged import Ragged, offsets_of
from trainer.finetuning.near_duplicates import group_signatures, sign_keys

# What the libraries are called in examples and in prose, besides their import names.
_ALIASES = {
    "apache_beam": ("apache", "beam"),
    "google": ("gcp", "vertexai"),
    "huggingface_hub": ("huggingface", "hugging face", "hf"),
    "jax": ("jnp", "jaxlib", "jaxpr", "lax"),
    "keras": ("keras_hub", "keras_nlp", "keras_cv"),
    "networkx": ("nx",),
    "numpy": ("np", "onp"),
    "pandas": ("pd",),
    STANDARD_LIBRARY: ("cpython", "stdlib"),
    "scipy": ("sp",),
    "sympy": ("sympify",),
    "tensorflow": ("tf", "tf2", "tflite"),
    "torch": ("pytorch", "aten"),
    "transformers": (),
}
_WORD = re.compile(r"[a-z0-9]+")


@dataclasses.dataclass(frozen=True)
class DocstringsConfig:
    """Make a corpus and a classification task from the docstrings of installed packages.

    Writes corpus.jsonl (text, source), train.jsonl and validation.jsonl (text, label, source) and
    manifest.json.

    Example: --output runs/docstrings
    """

    output: str = option(group=CHOOSE, metavar="DIR")
    """Folder to write to."""
    folders: tuple[str, ...] = option((), metavar="DIR")
    """Folders of packages to read; default: this Python's site-packages and standard library."""
    max_bytes: int = 30_000_000
    """Most bytes of text in the corpus: small packages whole, large ones share the rest."""
    labels: int = 10
    """How many libraries the task tells apart: those with the most docstrings."""
    train_per_label: int = 500
    """Most training examples of each library."""
    validation_per_label: int = 200
    """Validation examples of each library."""
    seed: int = 0
    """Decides which docstrings are chosen."""


def library_names(labels: Iterable[str]) -> frozenset[str]:
    """The names by which the libraries (and the best known ones) go, in lower case."""
    names = {name.lower() for name in labels} | set(_ALIASES)
    return frozenset(names | {alias for aliases in _ALIASES.values() for alias in aliases})


def hide_names(text: str, names: frozenset[str]) -> str:
    """Takes names out of a text, in upper and lower case, also inside longer and dotted names.

    A name of up to four letters goes only where it stands alone or between dots or underscores:

    >>> hide_names("NumPyro wraps tf.nn.relu, not tfoo.", frozenset({"tf", "numpy"}))
    'ro wraps nn.relu, not tfoo.'
    """
    # Names that do not occur would slow the search down tenfold.
    lower = text.lower()
    present = frozenset(name for name in names if name in lower)
    return " ".join(_name_pattern(present).sub("", text).split()) if present else text


@functools.cache
def _name_pattern(names: frozenset[str]) -> re.Pattern[str]:
    # Longer names first, so that "cpython" does not leave a "c".
    spellings = []
    for name in sorted(names, key=lambda name: (-len(name), name)):
        spelling = re.escape(name)
        if len(name) < 5:
            spelling = rf"(?<![a-z0-9]){spelling}(?![a-z0-9])"
        spellings.append(spelling)
    return re.compile(rf"(?:{'|'.join(spellings)})(?:\.(?=\w))?", re.IGNORECASE)


def find_near_duplicates(
    texts: Sequence[str], ignored: frozenset[str] = frozenset()
) -> NDArray[np.int64]:
    """Groups texts that are equal or nearly so; ``ignored`` words and case do not count.

    See ``near_duplicates``; the shingles are runs of three words. Returns int64[n]: for each text
    the index of the first text of its group.
    """
    if not len(texts):
        return np.zeros(0, np.int64)
    words = [[w for w in _WORD.findall(text.lower()) if w not in ignored] for text in texts]
    word_keys = {word: content_id(word.encode()) for word in {w for row in words for w in row}}
    keys = np.array([word_keys[word] for row in words for word in row], np.uint64)
    rows = Ragged(keys, offsets_of(np.array([len(row) for row in words], np.int64)))
    signatures = sign_keys(rows, filling=content_id(b""), purpose="docstring shingles")
    return group_signatures(signatures)


def share_fairly(sizes: Sequence[int], total: int) -> list[int]:
    """Divides a total: the small get all they have, the large the same share each.

    >>> share_fairly([10, 500, 90, 400], 300)
    [10, 100, 90, 100]
    """
    shares, left = [0] * len(sizes), total
    order = sorted(range(len(sizes)), key=lambda i: sizes[i])
    for done, i in enumerate(order):
        shares[i] = min(sizes[i], left // (len(order) - done))
        left -= shares[i]
    return shares


def choose_corpus(docstrings: Sequence[Docstring], max_bytes: int, seed: int) -> list[Docstring]:
    """Chooses docstrings of up to ``max_bytes`` of text in all, every package its fair share."""
    packages = _by_label(_draw_order(docstrings, seed, "docstring corpus"))
    sizes = [sum(len(d.text.encode()) for d in members) for members in packages.values()]
    chosen = []
    for members, share in zip(packages.values(), share_fairly(sizes, max_bytes), strict=True):
        for docstring in members:
            share -= len(docstring.text.encode())
            if share < 0:
                break
            chosen.append(docstring)
    return sorted(chosen, key=lambda docstring: docstring.source)


def choose_task(
    docstrings: Sequence[Docstring], config: DocstringsConfig
) -> tuple[list[Docstring], list[Docstring], list[Docstring]]:
    """Chooses the labelled examples among docstrings without near-duplicates.

    Returns training and validation examples with the names of libraries taken out, and the
    validation examples as they were. Raises UserError if fewer than two packages have enough.
    """
    packages = _by_label(_draw_order(docstrings, config.seed, "docstring task"))
    enough = [
        label for label in packages if len(packages[label]) >= 2 * config.validation_per_label
    ]
    labels = sorted(
        sorted(enough, key=lambda label: (-len(packages[label]), label))[: config.labels]
    )
    if len(labels) < 2:
        raise UserError(
            f"{len(labels)} packages have {2 * config.validation_per_label} docstrings or more, "
            "two are needed; install more packages or lower --validation_per_label"
        )
    names = library_names(labels)
    train, validation, held_out = [], [], []
    for label in labels:
        wanted = config.validation_per_label + config.train_per_label
        for docstring in packages[label]:
            hidden = dataclasses.replace(docstring, text=hide_names(docstring.text, names))
            if not wanted or not is_prose(hidden.text):
                continue
            if wanted > config.train_per_label:
                validation.append(hidden)
                held_out.append(docstring)
            else:
                train.append(hidden)
            wanted -= 1
    # In a mixed order, for readers that do not shuffle.
    mixed = [_draw_order(part, config.seed, "docstring examples") for part in (train, validation)]
    return mixed[0], mixed[1], held_out


def choose(
    docstrings: Sequence[Docstring], config: DocstringsConfig, counts: Counter[str]
) -> tuple[list[Docstring], list[Docstring], list[Docstring]]:
    """Corpus, training and validation examples; counts what becomes of every docstring."""
    # The longest of a group of near-duplicates stands for it: it comes first.
    prose = sorted(docstrings, key=lambda d: (-len(d.text), d.source, d.text))
    names = library_names({docstring.label for docstring in prose})
    group = find_near_duplicates([docstring.text for docstring in prose], names)
    labels: dict[int, set[str]] = {}
    for first, docstring in zip(group.tolist(), prose, strict=True):
        labels.setdefault(first, set()).add(docstring.label)
    counts["docstrings_dropped_near_duplicate"] = len(prose) - len(labels)
    # What several libraries say in the same words has no right answer: not a part of the task.
    own = [prose[first] for first in labels if len(labels[first]) == 1]
    train, validation, held_out = choose_task(own, config)
    kept_back = {docstring.text for docstring in held_out}
    others = [prose[first] for first in labels if prose[first].text not in kept_back]
    corpus = choose_corpus(others, config.max_bytes, config.seed)
    counts["docstrings_held_out_for_validation"] = len(held_out)
    counts["docstrings_dropped_max_bytes"] = len(others) - len(corpus)
    counts["docstrings_corpus"] = len(corpus)
    return corpus, train, validation


def _by_label(docstrings: Iterable[Docstring]) -> dict[str, list[Docstring]]:
    packages: dict[str, list[Docstring]] = {}
    for docstring in docstrings:
        packages.setdefault(docstring.label, []).append(docstring)
    return packages


def _draw_order(docstrings: Sequence[Docstring], seed: int, purpose: str) -> list[Docstring]:
    """The docstrings in an order drawn by their texts: not that in which they were found."""
    keys = np.array([content_id(d.text.encode()) for d in docstrings], np.uint64)
    draws = fold(purpose_key(seed, purpose), keys)
    return [docstrings[i] for i in np.argsort(draws, kind="stable")]

"""The embedded corpus: the docstrings of the Python packages that are already installed.

Every Python environment holds tens of MB of English prose. This command parses the installed
packages with ``ast`` (nothing is imported or run), cleans their docstrings, keeps one of every
group of near-duplicates and writes a corpus for pretraining, and a labelled task: "which library
is this docstring from?", with the names of the libraries taken out of its texts. What is written
depends on the installed files and the configuration alone. No text of the task's validation part
(nor a near-duplicate of one) is in the corpus or in the training part.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import gc
import hashlib
import json
import os
import re
import sysconfig
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipelines import files
from pipelines.command import RunOptions, run_command
from pipelines.errors import UserError
from pipelines.keyed_random import fold, mix, purpose_key
from pipelines.manifest import Manifest, check_balance, finish_output, prepare_output, read_manifest
from pipelines.near_duplicates import HASHES, SHINGLE, group_signatures
from pipelines.shards import ShardInfo, file_sha256

STANDARD_LIBRARY = "python"
"""The label of the standard library's docstrings."""

# Tests are code more than prose; vendored folders hold texts of others under a false label.
_TEST_FOLDERS = ("test", "tests", "idle_test", "testing", "testdata")
_VENDORED_FOLDERS = ("_vendor", "vendor", "_vendored", "vendored", "third_party", "extern")
_SKIPPED_FOLDERS = {"site-packages", "dist-packages", *_TEST_FOLDERS, *_VENDORED_FOLDERS}
# Generated clients are hundreds of MB of one pattern: only so much of each package is read.
_PACKAGE_SOURCE_BYTES = 24_000_000
_MINIMUM_WORDS = 12
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
_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_WORD = re.compile(r"[a-z0-9]+")
_PROSE_WORD = re.compile(r"(?<![^\s(\"'`])[A-Za-z][a-z]+(?![^\s.,;:!?)\"'`])")


@dataclasses.dataclass(frozen=True)
class DocstringsConfig:
    """Makes a corpus and a classification task from the docstrings of installed packages.

    Writes corpus.jsonl (text, source), train.jsonl and validation.jsonl (text, label, source) and
    manifest.json.
    """

    output: str = ""
    """Folder to write to."""
    folders: tuple[str, ...] = ()
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


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """A Python file: path, package (the label), dotted module name and size in bytes."""

    path: str
    label: str
    module: str
    size: int


@dataclasses.dataclass(frozen=True)
class Docstring:
    """One docstring: its cleaned text, its package and where it stands (``module.qualname``)."""

    text: str
    label: str
    source: str


def find_sources(folders: Iterable[str]) -> list[SourceFile]:
    """Finds the Python files of all packages in the folders, sorted by module; no module twice.

    A folder that contains ``ast.py`` is a standard library: all of it is one package.
    """
    found: dict[str, SourceFile] = {}
    for root in folders:
        standard = os.path.isfile(os.path.join(root, "ast.py"))
        for folder, subfolders, names in os.walk(root):
            subfolders[:] = [
                name for name in subfolders if name.isidentifier() and name not in _SKIPPED_FOLDERS
            ]
            for name in names:
                if not name.endswith(".py") or name.startswith("test_"):
                    continue
                path = os.path.join(folder, name)
                parts = Path(path).relative_to(root).with_suffix("").parts
                parts = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
                module, label = ".".join(parts), STANDARD_LIBRARY if standard else parts[0]
                found.setdefault(module, SourceFile(path, label, module, os.path.getsize(path)))
    return [found[module] for module in sorted(found)]


def limit_sources(sources: Sequence[SourceFile], limit: int, seed: int) -> list[SourceFile]:
    """Keeps at most ``limit`` bytes of each package: files in an order drawn by their modules."""
    key = purpose_key(seed, "docstring sources")
    order = sorted(sources, key=lambda source: int(fold(key, _text_key(source.module))))
    total: Counter[str] = Counter()
    kept = []
    for source in order:
        if total[source.label] + source.size <= limit:
            total[source.label] += source.size
            kept.append(source)
    return sorted(kept, key=lambda source: source.module)


def read_docstrings(source: SourceFile) -> tuple[int, list[Docstring]] | None:
    """How many docstrings a file with its classes and functions has; those that are prose, cleaned.

    None if the file cannot be read as Python.
    """
    gc.disable()  # A third of the time: trees are many objects and no garbage.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(Path(source.path).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    finally:
        gc.enable()
    count, docstrings = 0, []
    pending: list[tuple[ast.AST, str]] = [(tree, source.module)]
    while pending:
        node, name = pending.pop()
        if isinstance(node, (ast.Module, *_DEFINITIONS)):
            raw = ast.get_docstring(node)
            if raw:
                count += 1
                if is_prose(text := clean_docstring(raw)):
                    docstrings.append(Docstring(text, source.label, name))
        for child in getattr(node, "body", ()):
            if isinstance(child, _DEFINITIONS):
                pending.append((child, f"{name}.{child.name}"))
            elif isinstance(child, (ast.If, ast.Try)):
                pending.append((child, name))
    return count, docstrings


def clean_docstring(text: str) -> str:
    """Leaves the prose of a docstring: one line a paragraph, no code and no ornaments.

    Dropped are doctests with their output, fenced code, rulers (``-----``) and reST directives:

    >>> clean_docstring("Adds two\\nnumbers.\\n\\n>>> add(1, 2)\\n3\\n\\nReturns\\n-------\\nint")
    'Adds two numbers.\\nReturns int'
    """
    paragraphs: list[list[str]] = [[]]
    fenced = in_example = False
    for line in text.encode("utf-8", "ignore").decode().split("\n"):
        line = line.strip()
        if line.startswith(("```", "~~~")):
            fenced = not fenced
            continue
        if not line:
            in_example = False
            paragraphs.append([])
        in_example = in_example or line.startswith(">>>")
        if fenced or in_example or not any(map(str.isalnum, line)):
            continue
        if not (line.startswith(".. ") and line.endswith("::")):
            paragraphs[-1].append(" ".join(line.split()))
    return "\n".join(" ".join(lines) for lines in paragraphs if lines)


def is_prose(text: str) -> bool:
    """Whether a text has at least twelve plain words, and at least half of it is plain words."""
    words = _PROSE_WORD.findall(text)
    return len(words) >= _MINIMUM_WORDS and 2 * sum(map(len, words)) >= len("".join(text.split()))


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
    return group_signatures(_minhash(texts, ignored))


def _minhash(texts: Sequence[str], ignored: frozenset[str]) -> NDArray[np.uint64]:
    """Signatures uint64[n, HASHES]: for each hash function the least value among the shingles."""
    word_keys = {"": _text_key("")}
    stream: list[int] = []
    starts = np.zeros(len(texts), np.int64)
    for i, text in enumerate(texts):
        starts[i] = len(stream)
        words = [word for word in _WORD.findall(text.lower()) if word not in ignored]
        # Filled up at the end, so that every text has a shingle and none reaches into the next.
        for word in words + [""] * SHINGLE:
            if word not in word_keys:
                word_keys[word] = _text_key(word)
            stream.append(word_keys[word])
    keys = np.array(stream, np.uint64)
    shingles = keys.copy()
    for k in range(1, SHINGLE):
        shingles[:-k] = mix(shingles[:-k]) ^ keys[k:]
    filling = keys == np.uint64(word_keys[""])
    filling[starts] = False
    signatures = np.empty((len(texts), HASHES), np.uint64)
    for column in range(HASHES):
        draws = mix(shingles ^ fold(purpose_key(0, "docstring shingles"), column))
        draws[filling] = np.iinfo(np.uint64).max
        signatures[:, column] = np.minimum.reduceat(draws, starts)
    return signatures


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


def _by_label(docstrings: Iterable[Docstring]) -> dict[str, list[Docstring]]:
    packages: dict[str, list[Docstring]] = {}
    for docstring in docstrings:
        packages.setdefault(docstring.label, []).append(docstring)
    return packages


def _draw_order(docstrings: Sequence[Docstring], seed: int, purpose: str) -> list[Docstring]:
    """The docstrings in an order drawn by their texts: not that in which they were found."""
    keys = np.array([_text_key(docstring.text) for docstring in docstrings], np.uint64)
    draws = fold(purpose_key(seed, purpose), keys)
    return [docstrings[i] for i in np.argsort(draws, kind="stable")]


def _text_key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def make_docstrings(config: DocstringsConfig, options: RunOptions) -> None:
    """Reads the installed packages and writes the corpus and the task; see the module docstring.

    Raises UserError for bad options, or if there is too little to read.
    """
    started = time.monotonic()
    _check(config)
    paths = sysconfig.get_paths()
    default = (paths["purelib"], paths["platlib"], paths["stdlib"])
    folders = sorted({os.path.realpath(f) for f in config.folders or default}, key=str)
    found = find_sources(folders)
    if not found:
        raise UserError(f"--folders: no Python files in {', '.join(folders)}; name other folders")
    listing = "\n".join(f"{source.module} {source.size}" for source in found)
    inputs = {"files": len(found), "sha256": hashlib.sha256(listing.encode()).hexdigest()}
    asked = {k: v for k, v in dataclasses.asdict(config).items() if k not in ("output", "folders")}
    sources = limit_sources(found, _PACKAGE_SOURCE_BYTES, config.seed)
    size = sum(source.size for source in sources) / 1e6
    if options.dry_run:
        print(f"would read {len(sources):,} files ({size:.0f} MB) in {', '.join(folders)}")
        print(
            f"would write corpus, train, validation (.jsonl) and manifest.json to {config.output}"
        )
        return
    if prepare_output(
        config.output, asked, inputs, overwrite=options.overwrite, stage="docstrings"
    ):
        print(f"{config.output} is finished already: {_summary(read_manifest(config.output))}")
        return
    print(f"reading the docstrings of {len(sources):,} files ({size:.0f} MB)", flush=True)
    counts: Counter[str] = Counter(files_found=len(found))
    docstrings: list[Docstring] = []
    counts["files_dropped_package_limit"] = len(found) - len(sources)
    with ProcessPoolExecutor() as pool:
        results = pool.map(read_docstrings, sources, chunksize=64)
        for result in tqdm(results, total=len(sources), unit=" files", disable=None):
            counts["files_read" if result else "files_dropped_not_python"] += 1
            number, prose = result or (0, [])
            counts["docstrings_read"] += number
            counts["docstrings_dropped_not_prose"] += number - len(prose)
            docstrings += prose
    corpus, train, validation = _choose(docstrings, config, counts)
    check_balance(counts, "files", "files_found", ("files_read", "files_dropped_*"))
    check_balance(
        counts,
        "docstrings",
        "docstrings_read",
        ("docstrings_corpus", "docstrings_held_out_for_validation", "docstrings_dropped_*"),
    )
    shards = {
        "corpus": _write_jsonl(config.output, "corpus", corpus, ("text", "source")),
        "train": _write_jsonl(config.output, "train", train, ("text", "label", "source")),
        "validation": _write_jsonl(
            config.output, "validation", validation, ("text", "label", "source")
        ),
    }
    facts = {
        "corpus_bytes": sum(len(docstring.text.encode()) for docstring in corpus),
        "corpus_documents": dict(sorted(Counter(d.label for d in corpus).items())),
        "train_labels": dict(sorted(Counter(d.label for d in train).items())),
        "validation_labels": dict(sorted(Counter(d.label for d in validation).items())),
    }
    manifest = Manifest("docstrings", asked, dict(sorted(counts.items())), facts, (), shards)
    seconds = time.monotonic() - started
    finish_output(config.output, manifest, inputs, {"seconds": round(seconds, 1)})
    print(f"{config.output}: {_summary(manifest)} ({seconds:.0f} s)")


def _check(config: DocstringsConfig) -> None:
    if not config.output:
        raise UserError("--output: name the folder to write to")
    for name, least in (("max_bytes", 1), ("labels", 2)):
        if getattr(config, name) < least:
            raise UserError(f"--{name} {getattr(config, name)}: must be at least {least}")
    for name in ("train_per_label", "validation_per_label"):
        if getattr(config, name) < 1:
            raise UserError(f"--{name} {getattr(config, name)}: must be at least 1")
    for folder in config.folders:
        if not os.path.isdir(folder):
            raise UserError(f"--folders: {folder} is not a folder")


def _choose(
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


def _write_jsonl(
    folder: str, name: str, docstrings: Sequence[Docstring], fields: tuple[str, ...]
) -> tuple[ShardInfo, ...]:
    path = files.join(folder, f"{name}.jsonl")
    with files.publish(path) as temporary:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            for docstring in docstrings:
                record = {field: getattr(docstring, field) for field in fields}
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        digest, size = file_sha256(temporary), os.path.getsize(temporary)
    return (ShardInfo(f"{name}.jsonl", len(docstrings), size, digest),)


def _summary(manifest: Manifest) -> str:
    return (
        f"{manifest.rows('corpus'):,} docstrings ({manifest.facts['corpus_bytes'] / 1e6:.1f} MB) "
        f"to pretrain on; {manifest.rows('train'):,} + {manifest.rows('validation'):,} of "
        f"{len(manifest.facts['train_labels'])} libraries to fine-tune and validate with"
    )


if __name__ == "__main__":
    run_command(
        DocstringsConfig, make_docstrings, stage="docstrings", module="pipelines.docstrings"
    )

"""What the tokenizers of KerasHub and Transformers make of texts, to be shown beside ours.

The one place that imports them, in a process of its own: they need not be installed, bring TensorFlow
or PyTorch with them, and print what they like. Nothing of theirs comes into any stage's output.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, cast

from pipelines.child_process import start_child
from pipelines.errors import one_line
from pipelines.text.vocabulary_source import VOCABULARY_FILE, VocabularySource

_NAMES = {"keras-hub": "KerasHub", "transformers": "Transformers"}


@dataclass(frozen=True)
class Peer:
    """``ids``: of each text, None where it gave none; ``problem`` says why."""

    name: str
    ids: list[list[int]] | None
    problem: str = ""


def ask_peers(texts: Sequence[str], source: VocabularySource) -> list[Peer]:
    """Each peer's ids of the texts, with this vocabulary and normalisation."""
    settings = {"lowercase": source.lowercase, "strip_accents": source.strip_accents}
    with tempfile.TemporaryDirectory() as folder, start_child(__name__) as child:
        Path(folder, VOCABULARY_FILE).write_bytes(source.vocabulary.as_file())
        question = {"folder": folder, "texts": list(texts), "settings": settings}
        questions, answers = cast(IO[bytes], child.stdin), cast(IO[bytes], child.stdout)
        questions.write(json.dumps(question).encode())
        questions.close()
        answer = answers.read()
    if not answer:
        return [Peer(name, None, f"ended with status {child.wait()}") for name in _NAMES.values()]
    return [Peer(**peer) for peer in json.loads(answer)]


def _keras_hub(folder: str, texts: list[str], lowercase: bool, strip_accents: bool) -> Any:
    import keras_hub

    path = os.path.join(folder, VOCABULARY_FILE)
    tokenizer = keras_hub.tokenizers.BertTokenizer(
        path, lowercase=lowercase, strip_accents=strip_accents
    )
    return [[int(i) for i in tokenizer(text)] for text in texts]


def _transformers(folder: str, texts: list[str], lowercase: bool, strip_accents: bool) -> Any:
    import transformers

    library: Any = transformers  # It makes its names when they are asked for.
    options = {"do_lower_case": lowercase, "strip_accents": strip_accents}
    tokenizer = library.BertTokenizerFast.from_pretrained(folder, **options)
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def _answer(question: dict[str, Any]) -> list[dict[str, Any]]:
    peers = []
    for package, ask in (("keras-hub", _keras_hub), ("transformers", _transformers)):
        name = _NAMES[package]
        try:
            name = f"{name} {version(package)}"
            ids = ask(question["folder"], question["texts"], **question["settings"])
            peers.append({"name": name, "ids": ids})
        except ImportError as error:  # which a package that is not there is, too
            problem = f"is not installed ({one_line(error)})"
            peers.append({"name": name, "ids": None, "problem": problem})
        except Exception as error:
            peers.append({"name": name, "ids": None, "problem": one_line(error)[:200]})
    return peers


def _main() -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    asked = json.load(sys.stdin)
    # What the libraries print is not for the user.
    with os.fdopen(os.dup(1), "w") as answers, open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        json.dump(_answer(asked), answers)


if __name__ == "__main__":
    _main()

"""Where a stage's vocabulary comes from: a vocab.txt, or a folder that a stage wrote."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pipelines.errors import UserError
from pipelines.records.manifest import MANIFEST, Manifest, read_manifest
from pipelines.storage import files
from pipelines.text.accents import without_accents
from pipelines.text.vocabulary import Vocabulary

VOCABULARY_FILE = "vocab.txt"


@dataclass(frozen=True)
class VocabularySource:
    """A vocabulary and how text is normalised for it; ``note`` says why, where that may surprise."""

    vocabulary: Vocabulary
    lowercase: bool
    strip_accents: bool
    note: str = ""


def load_vocabulary(
    path: str, lowercase: bool | None = None, strip_accents: bool | None = None
) -> VocabularySource:
    """Loads a vocabulary from its file or from the folder of a finished stage.

    Normalisation: as given; else as the manifest beside it says; else, for a bare file, case is
    folded unless the vocabulary holds upper-case pieces, and accents are removed where case is,
    unless it holds pieces with accents, which no word would ever match then.
    Raises UserError for what does not exist, or is not what the manifest says.
    """
    folder = path if not is_vocabulary_file(path) else os.path.dirname(path)
    if folder == path:
        read_manifest(folder, flag="vocab")
        path = files.join(folder, VOCABULARY_FILE)
    vocabulary = Vocabulary.load(path)
    if folder and files.exists(files.join(folder, MANIFEST)):
        manifest = read_manifest(folder, flag="vocab")
        if os.path.basename(path) == VOCABULARY_FILE:
            check_vocabulary(folder, vocabulary, manifest)
        facts = manifest.facts
        for name, asked in (("lowercase", lowercase), ("strip_accents", strip_accents)):
            learned_with = facts.get(name)
            if asked is not None and learned_with not in (None, asked):
                raise UserError(
                    f"--{name} {str(asked).lower()}: the vocabulary {path} was learned with "
                    f"{name} {str(learned_with).lower()}; leave the flag out or learn another vocabulary"
                )
        lowercase = facts.get("lowercase", lowercase)
        strip_accents = facts.get("strip_accents", strip_accents)
        mark = facts.get("suffix_indicator", "##")
        if mark != "##":
            raise UserError(
                f"--vocab: {path} was learned with suffix_indicator {mark!r}, but in BERT's "
                "vocabularies '##' continues a word; learn one with --suffix_indicator '##'"
            )
    pieces = [token for token in vocabulary.tokens if not token.startswith("[")]
    if lowercase is None:
        lowercase = not any(token != token.lower() for token in pieces)
    note = ""
    if strip_accents is None:
        # What stripping accents would change, no word would ever match.
        changed = (piece for piece in pieces if piece != without_accents(piece))
        accented = next(changed, None) if lowercase else None
        strip_accents = lowercase and accented is None
        note = f": the piece {accented!r} would be lost" if accented else ""
    return VocabularySource(vocabulary, lowercase, strip_accents, note)


def is_vocabulary_file(path: str) -> bool:
    """True if the path is a file (not a folder with a manifest)."""
    return path.endswith(".txt") or os.path.isfile(path)


def save_vocabulary(folder: str, vocabulary: Vocabulary) -> None:
    """Publishes ``vocab.txt`` in a stage's output, so that each output is complete in itself."""
    files.publish_bytes(files.join(folder, VOCABULARY_FILE), vocabulary.as_file())


def check_vocabulary(folder: str, vocabulary: Vocabulary, manifest: Manifest) -> None:
    """Raises UserError unless this is the vocabulary that the manifest in ``folder`` names, if any."""
    named = manifest.facts.get("vocabulary", {}).get("fingerprint", vocabulary.fingerprint)
    if vocabulary.fingerprint != named:
        raise UserError(
            f"{files.join(folder, VOCABULARY_FILE)}: not the vocabulary that {MANIFEST} beside it "
            f"names (SHA-256 {vocabulary.fingerprint[:12]}…, manifest {named[:12]}…); put the right "
            "file back, or make the output again"
        )

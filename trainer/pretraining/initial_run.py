"""Beginning with the weights that another, finished run ended with.

This is how sequence lengths come in phases (Devlin et al. 2018, appendix A.2: most steps with 128
tokens, the last with 512): a run for each phase, each with its own data, steps, batch size and
learning rate.
"""

from __future__ import annotations

from typing import Any, Self

from pipelines.errors import UserError, one_line
from pipelines.records.checksums import checked_file, sha256_of
from pipelines.records.manifest import read_manifest
from pipelines.storage import files
from pipelines.text.vocabulary import Vocabulary
from pipelines.text.vocabulary_source import (
    VOCABULARY_FILE,
    VocabularySource,
    check_vocabulary,
)
from trainer.pretraining.initial_model import NEXT_SENTENCE_HEAD, InitialModel
from trainer.run_folder import WEIGHTS


class InitialRun(InitialModel):
    """A finished pretraining run; its fingerprint is the SHA-256 of the file of its weights."""

    flag = "initial_run"

    @classmethod
    def open(cls, place: str) -> Self:
        manifest = read_manifest(place, ("pretrain",), flag=cls.flag)
        facts = manifest.facts
        vocabulary = Vocabulary.load(files.join(place, VOCABULARY_FILE))
        check_vocabulary(place, vocabulary, manifest)
        try:
            with checked_file(place, WEIGHTS) as local:
                fingerprint = sha256_of(local)
        except OSError as error:
            raise UserError(
                f"--{cls.flag}: {place} has no readable {WEIGHTS} ({error.strerror or error})"
            ) from None
        return cls(
            place,
            facts["model"],
            facts["head"],
            fingerprint,
            () if facts.get("next_sentence") else (NEXT_SENTENCE_HEAD,),
            VocabularySource(vocabulary, facts["lowercase"], facts["strip_accents"]),
        )

    def read(self) -> Any:
        from trainer.presets.pretraining_model import load_pretraining_model

        pairs = NEXT_SENTENCE_HEAD not in self.missing
        facts = {"model": self.model, "head": self.head, "next_sentence": pairs}
        try:
            return load_pretraining_model(self.place, facts)
        except (OSError, ValueError) as error:
            raise UserError(f"--{self.flag}: {self.place} is damaged ({one_line(error)})") from None

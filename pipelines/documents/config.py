"""Where documents are and how they are read: the fields of every stage that reads text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines.command.options import CHOOSE, option
from pipelines.documents.filter import load_filter
from pipelines.documents.language import load_detector
from pipelines.documents.line_ranges import LONGEST_RECORD
from pipelines.errors import UserError
from pipelines.storage import files

READING = "how the input is read"
KEPT = "which documents are kept (each reason to drop one is counted)"
Format = Literal["auto", "text", "jsonl", "csv", "tsv", "parquet", "wikiextractor"]


@dataclass(frozen=True)
class InputFormat:
    """How documents stand in files."""

    input_format: Format = option("auto", group=READING)
    """auto goes by the extension, else by how the file begins."""

    text_field: str = option("text", group=READING, metavar="NAME")
    """The field (jsonl) or column (csv, tsv, parquet) that holds the text; a number for a column of
    a table without a header."""

    document_boundary: Literal["line", "blank_line", "file"] = option("line", group=READING)
    """What separates documents in plain text: each line, a blank line, or only the end of the
    file."""

    on_bad_record: Literal["fail", "drop"] = option("fail", group=READING)
    """A record that is no document (invalid JSON or UTF-8, missing field): stop with its file and
    line, or drop and count it."""

    max_record_bytes: int = option(
        LONGEST_RECORD, group=READING, decides="unless default", metavar="N"
    )
    """The most bytes that a record (a line, or the lines of one document) may have; a longer one is
    no document."""

    min_characters: int = option(0, group=KEPT, decides="unless default")
    """Drop documents of fewer characters."""

    max_characters: int = option(0, group=KEPT, decides="unless default")
    """Drop documents of more characters; 0: there is no limit."""

    min_letters: float = option(0.0, group=KEPT, decides="unless default", metavar="SHARE")
    """Drop documents of whose characters, white space apart, a smaller share are letters and marks of
    any script; 0.6 drops most tables and code."""

    max_repeated_lines: float = option(1.0, group=KEPT, decides="unless default", metavar="SHARE")
    """Drop documents of whose characters a larger share stand in lines that the document has said
    before; 0.3 is usual."""

    languages: tuple[str, ...] = option((), group=KEPT, decides="unless default")
    """Drop documents in other languages than these (en, de, zh …), by their first 1,000 characters;
    needs the extra 'language'."""

    filter: str | None = option(None, group=READING, metavar="MODULE:FUNCTION")
    """A function of your own, module:function, that gets each document's text and returns True to
    keep it or a reason (text) to drop it; what is dropped is counted by reason. A module that is one
    file in the working folder goes to workers on other machines."""


@dataclass(frozen=True, kw_only=True)
class CorpusConfig(InputFormat):
    """Where the documents are and how they stand in the files."""

    input: tuple[str, ...] = option(group=CHOOSE, decides=False, metavar="FILE")
    """Files, folders or glob patterns, local or on any filesystem of fsspec (gs://, s3:// …);
    .gz, .bz2 and .zst are decompressed."""

    def match_input(self) -> list[files.FileInfo]:
        """The input files; UserError for a pattern that matches none, or a filter that is not there."""
        if self.max_record_bytes < 1:
            raise UserError(f"--max_record_bytes {self.max_record_bytes}: must be at least 1")
        check_rules(self)
        if self.filter:
            load_filter(self.filter)
        return files.match(self.input)


def check_rules(options: InputFormat) -> None:
    """Raises UserError for rules of which documents are kept that cannot work."""
    for name in ("min_letters", "max_repeated_lines"):
        if not 0 <= getattr(options, name) <= 1:
            raise UserError(f"--{name} {getattr(options, name)}: must be between 0 and 1")
    for name in ("min_characters", "max_characters"):
        if getattr(options, name) < 0:
            raise UserError(f"--{name} {getattr(options, name)}: must not be negative")
    if options.languages:
        load_detector(options.languages)


def paths_read(config: CorpusConfig, infos: list[files.FileInfo]) -> list[str]:
    """What was asked for, and the files that were found."""
    return [*config.input, *(info.path for info in infos)]


def describe_inputs(infos: list[files.FileInfo]) -> list[list[object]]:
    """Input files as JSON, to recognise an unchanged input when a stage is run again."""
    return [[info.path, info.size, info.modified] for info in infos]

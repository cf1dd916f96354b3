"""BERT's tokenizer in Hugging Face's files: vocab.txt, tokenizer.json or both, and their settings.

Each must say that it is BERT's WordPiece, and what two of them say must be the same; else it is
refused, because the ids would be others than those the model was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from pipelines.errors import UserError
from pipelines.storage import files
from pipelines.storage.json_file import read_json
from pipelines.text.vocabulary import BLANKS, SPECIAL_TOKENS, UNK, Vocabulary, read_lines
from pipelines.text.words import MAX_WORD_CHARACTERS

ROLES = {f"{token[1:-1].lower()}_token": token for token in SPECIAL_TOKENS}
_LINES, _FAST = "vocab.txt", "tokenizer.json"
_SETTINGS, _ADDED = "tokenizer_config.json", "added_tokens.json"
# All that is read.
FILES = (_LINES, _FAST, _SETTINGS, _ADDED)
_CLASSES = {
    *(
        f"{kind}Tokenizer{fast}"
        for kind in ("Bert", "DistilBert", "Electra")
        for fast in ("", "Fast")
    ),
    *("PreTrainedTokenizerFast", "TokenizersBackend"),
}
_EXPECTED_SETTINGS = {**ROLES, "tokenize_chinese_chars": True, "do_basic_tokenize": True}
_EXPECTED: dict[str, dict[str, Any]] = {
    "model": {
        "type": "WordPiece",
        "unk_token": UNK,
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": MAX_WORD_CHARACTERS,
    },
    "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
}
_MOST_PIECES, _MOST_BYTES = 1 << 24, 1 << 28


@dataclass(frozen=True)
class HuggingFaceTokenizer:
    """``pieces``: by id; an id without one has a name that no word of a text is. ``added``: the pieces
    that text may hold as they are, beside BERT's own, the longest first, as one may begin with another.
    """

    pieces: tuple[str, ...]
    added: tuple[str, ...]
    lowercase: bool
    strip_accents: bool


# From the name of a file to where it is, None where there is none.
Find = Callable[[str], str | None]


def read_huggingface_tokenizer(find: Find, preset: str) -> HuggingFaceTokenizer:
    """Reads the files that ``find`` finds. Raises UserError, which names the ``preset``, for files that
    are missing, damaged, not BERT's, or contradict each other."""
    settings, fast = (_read(find, name) for name in (_SETTINGS, _FAST))
    if settings:
        _check_settings(settings, f"{preset}/{_SETTINGS}")
    if fast:
        _check_fast(fast, f"{preset}/{_FAST}")
    lowercase, strip_accents = _normalisation(settings, fast, preset)
    pieces = _pieces(find, fast, preset)
    added = _place_added_tokens(find, pieces, settings, fast, preset)
    _check_added_tokens(added, lowercase, preset)
    marked = sorted((token["content"] for token in added), key=len, reverse=True)
    named = tuple(piece or f"[NO PIECE {i}]" for i, piece in enumerate(pieces))
    if any(character == "\n" or "\ud800" <= character <= "\udfff" for character in "".join(named)):
        raise UserError(
            f"{preset}: a piece of the vocabulary is no text (a lone surrogate, or the end of a line); "
            "damaged"
        )
    vocabulary = Vocabulary(named, source=f"{preset}: vocabulary", allow_blanks=True)
    vocabulary.require(SPECIAL_TOKENS)
    return HuggingFaceTokenizer(named, tuple(marked), lowercase, strip_accents)


def _read(find: Find, name: str) -> dict[str, Any]:
    path = find(name)
    return read_json(path) if path else {}


def _check_settings(settings: Mapping[str, Any], source: str) -> None:
    kind = str(settings.get("tokenizer_class") or "BertTokenizer")
    if kind not in _CLASSES:
        raise UserError(
            f"{source}: tokenizer_class {kind!r} is not BERT's WordPiece; not supported"
        )
    given = {key: value for key, value in settings.items() if value is not None}
    given |= {k: v["content"] for k, v in given.items() if isinstance(v, dict) and "content" in v}
    _check_equal(_EXPECTED_SETTINGS, given, source)


def _check_fast(fast: Mapping[str, Any], source: str) -> None:
    for part, expected in _EXPECTED.items():
        given = fast.get(part)
        if not isinstance(given, dict):
            raise UserError(f"{source}: {part} is not BERT's {expected}; not supported")
        _check_equal(expected, given, f"{source}: {part}", required=part != "model")
    template = fast.get("post_processor")
    parts = template.get("single") if isinstance(template, dict) else None
    single = [name for item in parts for name in _names(item)] if isinstance(parts, list) else []
    if single and single != ["[CLS]", "A", "[SEP]"]:
        raise UserError(f"{source}: texts are laid out as {' '.join(single)}, not [CLS] A [SEP]")


def _names(item: Any) -> Iterator[str]:
    if isinstance(item, dict):
        yield from (str(part.get("id")) for part in item.values() if isinstance(part, dict))


def _check_equal(
    expected: Mapping[str, Any], given: Mapping[str, Any], source: str, required: bool = False
) -> None:
    for key, value in expected.items():
        if given.get(key, None if required else value) != value:
            raise UserError(
                f"{source}: {key} is {str(given.get(key))[:80]!r}, not BERT's {value!r}; not supported"
            )


def _normalisation(
    settings: Mapping[str, Any], fast: Mapping[str, Any], preset: str
) -> tuple[bool, bool]:
    """(lowercase, strip_accents), as whichever file says it, or BERT's way if none does."""
    found = []
    if not fast or settings.keys() & {"do_lower_case", "strip_accents"}:
        found.append((_SETTINGS, settings.get("do_lower_case", True), settings))
    if fast:
        found.append((_FAST, fast["normalizer"].get("lowercase", True), fast["normalizer"]))
    ways: list[dict[str, bool]] = []
    for name, lowercase, stated in found:
        strip = stated.get("strip_accents")
        ways += [{"lowercase": lowercase, "strip_accents": lowercase if strip is None else strip}]
        for key, value in ways[-1].items():
            if not isinstance(value, bool):
                raise UserError(f"{preset}/{name}: {key} is {str(value)[:40]!r}, not true or false")
    if ways[0] != ways[-1]:
        raise UserError(
            f"{preset}: {_SETTINGS} says {ways[0]} and {_FAST} {ways[-1]}; write what the model was "
            "trained with into both"
        )
    return ways[0]["lowercase"], ways[0]["strip_accents"]


def _pieces(find: Find, fast: Mapping[str, Any], preset: str) -> list[str]:
    """The pieces by id, "" for an id without one, from either file or from both if they agree."""
    found: list[list[str]] = []
    if path := find(_LINES):
        lines = read_lines(files.read_bytes(path, _MOST_BYTES), path)
        # A piece that is there twice has the later id, as in google-research/bert and Transformers.
        found.append(_by_id({piece: i for i, piece in enumerate(lines)}))
    if fast:
        ids = fast["model"].get("vocab")
        is_id = range(_MOST_PIECES).__contains__
        if not isinstance(ids, dict) or not all(type(i) is int and is_id(i) for i in ids.values()):
            raise UserError(f"{preset}/{_FAST}: model.vocab is no table of pieces and ids; damaged")
        found.append(_by_id(ids))
    if not found:
        raise UserError(f"{preset}: has no {_LINES} and no {_FAST}; is it a complete preset?")
    for i, (one, other) in enumerate(zip_longest(found[0], found[-1], fillvalue="")):
        if one != other:
            raise UserError(
                f"{preset}: id {i} is {one!r} in vocab.txt and {other!r} in {_FAST}; keep the file "
                "that the model was trained with"
            )
    return found[0]


def _by_id(ids: Mapping[str, int]) -> list[str]:
    ids = {piece: i for piece, i in ids.items() if piece.strip(BLANKS)}
    pieces = [""] * (max(ids.values(), default=-1) + 1)
    for piece, i in ids.items():
        pieces[i] = piece
    return pieces


def _place_added_tokens(
    find: Find,
    pieces: list[str],
    settings: Mapping[str, Any],
    fast: Mapping[str, Any],
    preset: str,
) -> list[dict[str, Any]]:
    """Adds the tokens that were added after training to ``pieces``; returns those that text may
    hold, beside BERT's own."""
    tokens: dict[int, dict[str, Any]] = {}
    try:
        for content, i in _read(find, _ADDED).items():
            tokens[int(i)] = {"content": str(content)}
        for i, token in settings.get("added_tokens_decoder", {}).items():
            tokens[int(i)] = {**token, "content": str(token["content"])}
        for token in fast.get("added_tokens") or ():
            tokens[int(token["id"])] = {**token, "content": str(token["content"])}
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
        raise UserError(f"{preset}: the added tokens are not a table of ids and tokens") from None
    for i, token in sorted(tokens.items()):
        content = token["content"]
        if not 0 <= i < _MOST_PIECES or (i < len(pieces) and pieces[i] not in ("", content)):
            raise UserError(f"{preset}: added token {content!r} has the id {i} of another piece")
        pieces += [""] * (i + 1 - len(pieces))
        pieces[i] = content
    return [token for token in tokens.values() if token["content"] not in ("", *SPECIAL_TOKENS)]


def _check_added_tokens(tokens: list[dict[str, Any]], lowercase: bool, preset: str) -> None:
    """Raises UserError for a token that is not looked for in the text exactly as it is written."""
    for token in tokens:
        flags = [flag for flag in ("lstrip", "rstrip", "single_word") if token.get(flag)]
        if token.get("normalized", True) and (lowercase or not token["content"].isascii()):
            flags.append("normalized")
        if flags:
            raise UserError(
                f"{preset}: the added token {token['content']!r} is {flags[0]}, which is not "
                "supported; add it again as AddedToken(…, normalized=False) and save the tokenizer"
            )

"""The vocabularies of presets, in every layout that holds one."""

from __future__ import annotations

import json

import pytest

from pipelines.errors import UserError
from pipelines.records.checksums import names_below, write_checksums
from pipelines.text.preset_vocabulary import load_preset_vocabulary
from pipelines.text.vocabulary import SPECIAL_TOKENS

_TOKENS = (*SPECIAL_TOKENS, "Über", "##s", "\u2028")
_FILE = "".join(f"{token}\n" for token in _TOKENS)
_WITHIN = {
    "model": {"type": "WordPiece", "vocab": {t: i for i, t in reversed([*enumerate(_TOKENS)])}},
    "normalizer": {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "lowercase": False,
        "strip_accents": None,
    },
    "pre_tokenizer": {"type": "BertPreTokenizer"},
}


def write(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_json", ".json").replace("_txt", ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")


@pytest.mark.parametrize(
    ("files", "normalization"),
    [
        ({"vocab_txt": _FILE}, (True, True)),
        ({"vocab_txt": _FILE, "tokenizer_config_json": {"do_lower_case": False}}, (False, False)),
        ({"vocab_txt": _FILE, "tokenizer_config_json": {"strip_accents": False}}, (True, False)),
        ({"tokenizer_json": _WITHIN}, (False, False)),
        ({"tokenizer_json": _WITHIN, "vocab_txt": _FILE}, (False, False)),
        (
            {
                "assets__tokenizer__vocabulary_txt": _FILE,
                "tokenizer_json": {"class_name": "BertTokenizer", "config": {"lowercase": True}},
            },
            (True, True),
        ),
    ],
)
def test_every_layout(tmp_path, files, normalization):
    write(tmp_path, **files)
    source = load_preset_vocabulary(str(tmp_path))
    assert source.vocabulary.tokens == _TOKENS
    assert (source.lowercase, source.strip_accents) == normalization


def test_folders_without_one(tmp_path):
    with pytest.raises(UserError, match=r"holds no WordPiece vocabulary: neither vocab\.txt nor"):
        load_preset_vocabulary(str(tmp_path))
    with pytest.raises(UserError, match=r"give a folder; .*snapshot_download\('org/bert'\)"):
        load_preset_vocabulary("hf://org/bert")


def test_added_tokens_gaps_and_repeated_pieces(tmp_path):
    lines = [*SPECIAL_TOKENS, "a", "", "b", "a"]  # "a" twice: the later id is its own
    added = {"10": {"content": "<tag>", "normalized": False}}
    settings = {"do_lower_case": True, "added_tokens_decoder": added}
    write(tmp_path, vocab_txt="\n".join(lines) + "\n", tokenizer_config_json=settings)
    tokens = load_preset_vocabulary(str(tmp_path)).vocabulary.tokens
    gaps = ("[NO PIECE 5]", "[NO PIECE 6]")
    assert tokens == (*SPECIAL_TOKENS, *gaps, "b", "a", "[NO PIECE 9]", "<tag>")
    # The same from a tokenizer.json alone, whose table has holes.
    (tmp_path / "vocab.txt").unlink()
    model = {**_WITHIN["model"], "vocab": {t: i for i, t in enumerate(lines) if t}}
    normalizer = {**_WITHIN["normalizer"], "lowercase": True}
    write(tmp_path, tokenizer_json={**_WITHIN, "model": model, "normalizer": normalizer})
    assert load_preset_vocabulary(str(tmp_path)).vocabulary.tokens == tokens


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({"tokenizer_json": {**_WITHIN, "model": {"type": "BPE"}}}, "type is 'BPE', not BERT's"),
        ({"tokenizer_json": {**_WITHIN, "normalizer": 3}}, "normalizer is not BERT's"),
        (
            {"tokenizer_json": _WITHIN, "tokenizer_config_json": {"do_lower_case": True}},
            r"tokenizer_config\.json says .*lowercase': True.* and tokenizer\.json .*lowercase': False",
        ),
        (
            {"tokenizer_json": _WITHIN, "vocab_txt": _FILE + "x\n"},
            "id 8 is 'x' in vocab.txt and ''",
        ),
        ({"vocab_txt": "a\nb\n"}, r"\[PAD\], .* not among its 2 pieces"),
        (
            {"vocab_txt": _FILE, "tokenizer_config_json": {"do_lower_case": "no"}},
            r"tokenizer_config\.json: lowercase is 'no', not true or false",
        ),
        (
            {"vocab_txt": _FILE, "tokenizer_config_json": {"tokenizer_class": "T5Tokenizer"}},
            "tokenizer_class 'T5Tokenizer' is not BERT's WordPiece",
        ),
        ({"vocab_txt": _FILE, "added_tokens_json": {"x": 2}}, "'x' has the id 2 of another piece"),
        ({"vocab_txt": _FILE, "added_tokens_json": {"<X>": 8}}, "added token '<X>' is normalized"),
        (
            {
                "vocab_txt": _FILE,
                "tokenizer_config_json": {
                    "added_tokens_decoder": {"8": {"content": "a\nb", "normalized": False}}
                },
            },
            "is no text .a lone surrogate, or the end of a line",
        ),
    ],
)
def test_what_is_refused(tmp_path, files, match):
    write(tmp_path, **files)
    with pytest.raises(UserError, match=match) as refused:
        load_preset_vocabulary(str(tmp_path))
    assert str(tmp_path) in str(refused.value)


def test_a_file_that_was_changed_is_refused(tmp_path):
    write(tmp_path, vocab_txt=_FILE, tokenizer_config_json={"do_lower_case": False})
    write_checksums(str(tmp_path), names_below(str(tmp_path)))
    (tmp_path / "README.md").write_text("of no use here")
    assert load_preset_vocabulary(str(tmp_path)).lowercase is False
    write(tmp_path, tokenizer_config_json={"do_lower_case": True})
    with pytest.raises(UserError, match=r"tokenizer_config\.json is not the file of SHA256SUMS"):
        load_preset_vocabulary(str(tmp_path))

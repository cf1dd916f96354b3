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
    "normalizer": {"type": "BertNormalizer", "lowercase": False, "strip_accents": None},
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
        (
            {"tokenizer_json": _WITHIN, "tokenizer_config_json": {"do_lower_case": True}},
            (True, True),
        ),
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
    write(tmp_path, tokenizer_json={"model": {"type": "BPE", "vocab": {"a": 3}}})
    with pytest.raises(UserError, match="holds no WordPiece vocabulary"):
        load_preset_vocabulary(str(tmp_path))
    with pytest.raises(UserError, match=r"give a folder; .*snapshot_download\('org/bert'\)"):
        load_preset_vocabulary("hf://org/bert")
    write(tmp_path, tokenizer_json={"model": [], "normalizer": 3}, vocab_txt=_FILE)
    write(tmp_path, tokenizer_config_json={"do_lower_case": "no"})
    with pytest.raises(UserError, match="lowercase is 'no' and strip_accents 'no', not true or"):
        load_preset_vocabulary(str(tmp_path))
    write(tmp_path, vocab_txt="a\nb\n")
    with pytest.raises(UserError, match=r"\[PAD\], .* not among its 2 pieces"):
        load_preset_vocabulary(str(tmp_path))


def test_a_file_that_was_changed_is_refused(tmp_path):
    write(tmp_path, vocab_txt=_FILE, tokenizer_config_json={"do_lower_case": False})
    write_checksums(str(tmp_path), names_below(str(tmp_path)))
    (tmp_path / "README.md").write_text("of no use here")
    assert load_preset_vocabulary(str(tmp_path)).lowercase is False
    write(tmp_path, tokenizer_config_json={"do_lower_case": True})
    with pytest.raises(UserError, match=r"tokenizer_config\.json is not the file of SHA256SUMS"):
        load_preset_vocabulary(str(tmp_path))

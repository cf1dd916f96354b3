"""Damaged, hostile and mistaken presets give one clear line and run nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import trainer
from pipelines.errors import UserError
from pipelines.records.checksums import read_checksums
from trainer.models.sizes import dimensions_of
from trainer.presets.huggingface import save_huggingface

_VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preset")
    tokenizer = trainer.models.BertTokenizer(_VOCABULARY, lowercase=True)
    preprocessor = trainer.models.BertPreprocessor(tokenizer, sequence_length=8)
    backbone = trainer.models.BertBackbone(7, 1, 2, 8, 16, max_sequence_length=8)
    trainer.models.BertClassifier(backbone, 2, preprocessor=preprocessor).save_to_preset(
        str(folder)
    )
    return folder


@pytest.fixture
def preset(saved: Path, tmp_path: Path) -> Path:
    """A preset without checksums, as others write them."""
    copied = Path(shutil.copytree(saved, tmp_path / "copy"))
    (copied / "SHA256SUMS").unlink()
    return copied


def _edit(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _message(preset: Path | str, load: Callable | None = None) -> str:
    with pytest.raises(UserError) as caught:
        (load or trainer.models.TextClassifier.from_preset)(str(preset))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_the_api_saves_is_checked_when_it_is_loaded(saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "copy"))
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    assert read_checksums(str(folder)).keys() == {*names} - {"SHA256SUMS"}
    for name in ("model.weights.h5", "assets/tokenizer/vocabulary.txt"):
        content = bytearray((folder / name).read_bytes())
        content[-2] ^= 1
        (folder / name).write_bytes(content)
        assert f"{name} is not the file of SHA256SUMS" in _message(folder)
        # What is saved again is listed anew.
        loaded = trainer.models.TextClassifier.from_preset(str(saved))
        loaded.save_to_preset(str(folder))
        trainer.models.TextClassifier.from_preset(str(folder))


@pytest.mark.parametrize(
    "name", ["config.json", "model.weights.h5", "tokenizer.json", "assets/tokenizer/vocabulary.txt"]
)
def test_missing_file_is_named(preset: Path, name: str) -> None:
    (preset / name).unlink()
    assert name in _message(preset)


def test_class_outside_the_list_is_refused(preset: Path) -> None:
    def change(content: dict) -> None:
        content.update(module="os", class_name="system", registered_name=None)

    _edit(preset / "config.json", change)
    assert "'system'" in _message(preset)


def test_lambda_in_the_configuration_is_not_built(preset: Path) -> None:
    evil = {"class_name": "__lambda__", "config": {"value": ["4wEAAAA=", None, None]}}
    _edit(preset / "task.json", lambda content: content["config"].update(activation=evil))
    with pytest.raises((UserError, ValueError, TypeError)):
        trainer.models.TextClassifier.from_preset(str(preset))


def test_unknown_argument_is_refused(preset: Path) -> None:
    _edit(preset / "config.json", lambda content: content["config"].update(bogus=1))
    assert "no argument 'bogus'" in _message(preset)


def test_an_argument_of_another_type_is_refused_whichever_class_takes_it(preset: Path) -> None:
    _edit(
        preset / "tokenizer.json", lambda content: content["config"].update(suffix_indicator=True)
    )
    assert "suffix_indicator is 'True', not a possible str" in _message(preset)


def test_vocabulary_elsewhere_is_refused(preset: Path) -> None:
    secret = preset.parent / "secret.txt"
    secret.write_text("secret\n")
    for path in ("tokenizer.json",):
        _edit(preset / path, lambda content: content["config"].update(vocabulary=str(secret)))
    assert "refused" in _message(preset, trainer.models.Tokenizer.from_preset)


def test_links_out_of_the_weights_are_refused(preset: Path) -> None:
    with h5py.File(preset / "other.h5", "w") as file:
        file["data"] = np.zeros((7, 8))
    with h5py.File(preset / "model.weights.h5", "a") as file:
        del file["layers/reversible_embedding/vars/0"]
        file["layers/reversible_embedding/vars/0"] = h5py.ExternalLink("other.h5", "data")
    assert "link" in _message(preset)


def _in_itself(file: h5py.File) -> None:
    file["layers/again"] = file["layers"]


def _deep(file: h5py.File) -> None:
    file.create_group("layers/" + "/".join(["g"] * 3000))


def _claims(file: h5py.File) -> None:
    file.create_dataset("layers/more", (1 << 40,), "f4", chunks=True)


@pytest.mark.parametrize(
    ("change", "says"), [(_in_itself, "in itself"), (_deep, "deeply"), (_claims, "claims more")]
)
def test_weights_that_would_never_end(preset: Path, change: Callable, says: str) -> None:
    with h5py.File(preset / "model.weights.h5", "a") as file:
        change(file)
    assert says in _message(preset)


def test_weights_of_another_shape(preset: Path) -> None:
    _edit(preset / "config.json", lambda content: content["config"].update(vocabulary_size=9))
    message = _message(preset)
    assert "(7, 8)" in message
    assert "(9, 8)" in message
    _edit(preset / "config.json", lambda content: content["config"].update(vocabulary_size=7))
    _edit(preset / "config.json", lambda content: content["config"].update(intermediate_dim=4))
    assert "does not fit" in _message(preset)


def test_weights_that_are_no_hdf5(preset: Path) -> None:
    (preset / "model.weights.h5").write_bytes(b"\x80\x04pickle")
    assert "HDF5" in _message(preset)


def test_vocabulary_larger_than_the_embedding(preset: Path) -> None:
    with (preset / "assets/tokenizer/vocabulary.txt").open("a") as file:
        file.write("c\n")
    message = _message(preset)
    assert "8 pieces" in message
    assert "7 rows" in message


def test_path_out_of_the_preset_is_refused(preset: Path) -> None:
    from trainer.presets.fetch import find_file

    for path in ("../secret.txt", "/etc/passwd", "a/../../b"):
        with pytest.raises(UserError, match="refused"):
            find_file(str(preset), path)


def test_unknown_name_gets_the_nearest() -> None:
    message = _message("bert_tinny_en_uncased", trainer.models.BertBackbone.from_preset)
    assert "did you mean 'bert_tiny_en_uncased'" in message
    assert "bert_large_en" in message
    with pytest.raises(UserError, match="did you mean 'bert_tiny'"):
        dimensions_of("bert_tinny")


def test_no_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    kagglehub = pytest.importorskip("kagglehub")

    def offline(*arguments: object, **options: object) -> None:
        raise OSError("Max retries exceeded\nwith url: https://…")

    monkeypatch.setattr(kagglehub, "model_download", offline)
    message = _message("bert_tiny_en_uncased", trainer.models.BertBackbone.from_preset)
    assert "could not be downloaded from Kaggle" in message


def test_built_in_architecture_without_network() -> None:
    backbone = trainer.models.BertBackbone.from_preset("bert_tiny_en_uncased", load_weights=False)
    assert backbone.count_params() == 4_385_920
    presets = trainer.models.BertBackbone.presets
    assert len(presets) == 9
    for name, preset in presets.items():
        d = preset["config"]
        hidden, inner = d["hidden_dim"], d["intermediate_dim"]
        layer = 4 * (hidden * hidden + hidden) + 2 * hidden * inner + inner + hidden + 4 * hidden
        total = (d["vocabulary_size"] + 512 + 2 + 2) * hidden + d["num_layers"] * layer
        assert total + hidden * hidden + hidden == preset["metadata"]["params"], name


def test_task_on_a_preset_without_a_head(preset: Path) -> None:
    (preset / "task.json").unlink()
    assert "num_classes=" in _message(preset)


@pytest.fixture
def huggingface(preset: Path, tmp_path: Path) -> Path:
    task = trainer.models.TextClassifier.from_preset(str(preset))
    save_huggingface(task, task.preprocessor.tokenizer, str(tmp_path / "huggingface"))
    return tmp_path / "huggingface"


def test_hugging_face_weights_of_another_shape(huggingface: Path) -> None:
    _edit(huggingface / "config.json", lambda content: content.update(intermediate_size=4))
    message = _message(huggingface)
    assert "encoder.layer.0.intermediate.dense.weight has shape (16, 8), not (4, 8)" in message


def test_hugging_face_vocabulary_larger_than_the_embedding(huggingface: Path) -> None:
    (huggingface / "tokenizer.json").unlink()
    with (huggingface / "vocab.txt").open("a") as file:
        file.write("c\n")
    message = _message(huggingface)
    assert "8 pieces" in message
    assert "7 rows" in message


def test_hugging_face_pickle_is_not_read(huggingface: Path) -> None:
    (huggingface / "model.safetensors").rename(huggingface / "pytorch_model.bin")
    assert "no file model.safetensors" in _message(huggingface)


def test_no_network_to_hugging_face_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def offline(*arguments: object, **options: object) -> None:
        raise hub.errors.LocalEntryNotFoundError(
            "cannot find the file\nand outgoing traffic is off"
        )

    monkeypatch.setattr(hub, "hf_hub_download", offline)
    message = _message("hf://someone/bert", trainer.models.BertBackbone.from_preset)
    assert "could not be downloaded from Hugging Face" in message


def test_preset_of_shorter_rows_serves_other_tasks(preset: Path) -> None:
    masked_lm = trainer.models.BertMaskedLM.from_preset(str(preset))
    assert masked_lm.preprocessor.sequence_length == 8, "not the default of 512"
    assert masked_lm.predict(["a b"], verbose=0).shape[0] == 1


def test_a_task_without_the_weights_of_its_head(preset: Path) -> None:
    (preset / "task.weights.h5").unlink()
    assert "has no file task.weights.h5" in _message(preset)
    fresh = trainer.models.TextClassifier.from_preset(str(preset), num_classes=3)
    assert fresh.num_classes == 3
    assert trainer.models.BertMaskedLM.from_preset(str(preset)) is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("num_layers", value) for value in (0, -1, 10**12, 10**7, 10**400, "2", 1.5, None, True)),
        *(("hidden_dim", value) for value in (10**9, [8], {"a": 1})),
        ("num_heads", 0),
        ("vocabulary_size", 10**9),
        *(("dropout", value) for value in (float("nan"), "0.1", float("inf"))),
        ("exact_gelu", "yes"),
    ],
)
def test_arguments_that_cannot_be_are_one_line(preset: Path, name: str, value: object) -> None:
    _edit(preset / "config.json", lambda content: content["config"].update({name: value}))
    assert "config.json: " in _message(preset)


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        ("task.json", "num_classes", 0),
        ("task.json", "num_classes", 10**12),
        ("task.json", "num_classes", 10**9),
        ("task.json", "num_classes", "2"),
        ("task.json", "dropout", "x"),
        ("task.json", "activation", "no_such"),
        ("preprocessor.json", "sequence_length", "8"),
        ("preprocessor.json", "sequence_length", -1),
        ("preprocessor.json", "truncate", 5),
        ("tokenizer.json", "lowercase", "no"),
        ("tokenizer.json", "split", False),
    ],
)
def test_arguments_of_a_task_that_cannot_be(
    preset: Path, file: str, name: str, value: object
) -> None:
    _edit(preset / file, lambda content: content["config"].update({name: value}))
    assert f"{file}: " in _message(preset)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 10**7),
        ("hidden_size", "8"),
        ("num_attention_heads", 0),
    ],
)
def test_hugging_face_arguments_that_cannot_be(huggingface: Path, key: str, value: object) -> None:
    _edit(huggingface / "config.json", lambda content: content.update({key: value}))
    assert "config.json: " in _message(huggingface)


@pytest.mark.parametrize("name", ["config.json", "task.json", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"[" * 100_000, b"[]", b'{"config": 5, "class_name": []}'])
def test_json_that_is_none_of_ours(preset: Path, name: str, content: bytes) -> None:
    (preset / name).write_bytes(content)
    assert name in _message(preset)

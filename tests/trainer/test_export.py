"""Exports load in KerasHub and transformers and give the trained model's outputs."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

os.environ.setdefault("KERAS_BACKEND", "jax")

keras = pytest.importorskip("keras")

from pipelines.command.run import RunOptions  # noqa: E402
from pipelines.errors import UserError  # noqa: E402
from pipelines.inspect import InspectConfig, inspect  # noqa: E402
from pipelines.records.manifest import Manifest, read_manifest  # noqa: E402
from pipelines.records.output_folder import finish_output  # noqa: E402
from tests.command_process import run_command_process  # noqa: E402
from tests.trainer.models.checks.outputs import outputs_of  # noqa: E402
from trainer.export import ExportConfig, export  # noqa: E402
from trainer.presets.trained_model import load_pretrained  # noqa: E402
from trainer.pretrain import pretrain  # noqa: E402
from trainer.pretraining.config import PretrainConfig  # noqa: E402

_TRANSFORMERS = """
import sys, numpy, torch, transformers
folder, classifier, work = sys.argv[1:]
for exported in (folder, classifier):
    card = open(exported + "/README.md", encoding="utf-8").read()
    exec(card.split("```python")[1].split("```")[0].replace("path/to/this/folder", exported))
assert classify("w1 w2")[0]["label"] in ("bad", "good"), classify("w1 w2")
assert len(fill_mask("w1 [MASK]")) == 5
model = transformers.BertForMaskedLM.from_pretrained(folder).eval()
arrays = {n: torch.tensor(v).long() for n, v in numpy.load(work + "/inputs.npz").items()}
positions = arrays.pop("mask_positions")
with torch.no_grad():
    found = model(
        input_ids=arrays["token_ids"],
        token_type_ids=arrays["segment_ids"],
        attention_mask=arrays["padding_mask"],
        output_hidden_states=True,
    )
logits = torch.take_along_dim(found.logits, positions[:, :, None], 1)
numpy.save(work + "/logits.npy", logits.numpy())
outputs = found.hidden_states[-1]
numpy.save(work + "/outputs.npy", outputs.numpy())
"""


def train(data, output, seed=0):
    config = PretrainConfig(
        data=(str(data),),
        output=str(output),
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        batch_size=8,
        learning_rate=0.01,
        steps=12,
        seed=seed,
    )
    pretrain(config, RunOptions())
    return output


@pytest.fixture(scope="module")
def run(make_rows, tmp_path_factory):
    return train(make_rows(), tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    config = ExportConfig(
        run=str(run), output=str(folder / "preset"), hf_output=str(folder / "huggingface")
    )
    export(config, RunOptions())
    return config


@pytest.fixture(scope="module")
def exported_classifier(exported, tmp_path_factory):
    """Both exports of a fine-tuned run."""
    from trainer.models.bert_text_classifier import BertTextClassifier

    folder = tmp_path_factory.mktemp("classifier")
    classifier = BertTextClassifier.from_preset(exported.output, num_classes=2)
    classifier.save_to_preset(str(folder / "run" / "preset"))
    figures = {"accuracy": 0.75, "examples": 8, "loss": 0.5, "macro_f1": 0.7}
    facts = {"classes": ["bad", "good"], "metrics": figures}
    manifest = Manifest("finetune", config={"epochs": 1}, counts={}, facts=facts)
    finish_output(str(folder / "run"), manifest, {}, {})
    config = ExportConfig(
        run=str(folder / "run"),
        output=str(folder / "preset"),
        hf_output=str(folder / "huggingface"),
        license="apache-2.0",
        language=("en",),
        datasets=("stanfordnlp/imdb",),
    )
    export(config, RunOptions())
    return config


@pytest.fixture(scope="module")
def expected(run):
    trained = load_pretrained(str(run), read_manifest(str(run)))
    return trained, trained.outputs(trained.task)


def inputs_of(trained):
    names = ("token_ids", "segment_ids", "padding_mask")
    return {name: trained.rows[name].astype(np.int32) for name in names}


def test_keras_hub_loads_the_preset_with_the_same_outputs(exported, expected):
    pytest.importorskip("keras_hub")
    trained, outputs = expected
    assert trained.rows["token_ids"].shape == (8, 32)
    card = Path(exported.output, "README.md").read_text("utf-8")
    code = card.split("```python")[1].split("```")[0]
    names: dict = {}
    exec(code.replace("path/to/this/folder", exported.output), names)
    backbone = names["backbone"]
    encoded = outputs_of(backbone, inputs_of(trained))
    for name in ("sequence_output", "pooled_output"):
        np.testing.assert_allclose(encoded[name], outputs[name], atol=1e-5)
    masked_lm = names["masked_lm"]
    positions = trained.rows["mask_positions"]
    logits = outputs_of(masked_lm, {**inputs_of(trained), "mask_positions": positions})
    np.testing.assert_allclose(logits, outputs["head"], atol=1e-5)
    tokenizer = masked_lm.preprocessor.tokenizer
    assert tokenizer.vocabulary_size() == 120
    assert tokenizer.lowercase
    assert np.asarray(tokenizer(["W1##s2 w3"])[0]).tolist() != []
    classifier = names["classifier"]
    inner = outputs_of(classifier.backbone, inputs_of(trained))["pooled_output"]
    np.testing.assert_allclose(inner, outputs["pooled_output"], atol=1e-5)
    assert classifier.predict(["w1 w2", "w3"], verbose=0).shape == (2, 2)


def test_transformers_loads_the_directory_with_the_same_outputs(
    exported, expected, exported_classifier, tmp_path
):
    if (
        importlib.util.find_spec("transformers") is None
        or importlib.util.find_spec("torch") is None
    ):
        pytest.skip("transformers and torch are not installed")
    trained, outputs = expected
    positions = trained.rows["mask_positions"]
    np.savez(tmp_path / "inputs.npz", **inputs_of(trained), mask_positions=positions)
    # In a process of its own: torch and TensorFlow do not always go together in one.
    done = subprocess.run(
        [
            *(sys.executable, "-c", _TRANSFORMERS, exported.hf_output),
            *(exported_classifier.hf_output, str(tmp_path)),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    used = trained.rows["padding_mask"].astype(bool)
    encoded = np.load(tmp_path / "outputs.npy")
    np.testing.assert_allclose(encoded[used], outputs["sequence_output"][used], atol=1e-5)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), outputs["head"], atol=1e-4)


def flip_a_bit(path, share=0.5):
    data = bytearray(path.read_bytes())
    data[int(len(data) * share)] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["output", "hf_output"])
def test_a_changed_file_is_named_by_every_loader(exported, kind, tmp_path):
    from trainer.models.bert_backbone import BertBackbone
    from trainer.models.bert_masked_lm import BertMaskedLM
    from trainer.models.bert_masked_lm_preprocessor import BertMaskedLMPreprocessor
    from trainer.tokenizers.bert_tokenizer import BertTokenizer

    folder = Path(shutil.copytree(getattr(exported, kind), tmp_path / "moved"))
    classes = (BertBackbone, BertMaskedLM, BertMaskedLMPreprocessor, BertTokenizer)
    for cls in classes:
        cls.from_preset(str(folder))
    inspect(InspectConfig(data=str(folder)), RunOptions())
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    for name in sorted({*names} - {"SHA256SUMS", "README.md"}):
        flip_a_bit(folder / name)
        for cls in classes:
            with pytest.raises(UserError, match=f"{name} is not the file of .* delete "):
                cls.from_preset(str(folder))
        if name != "manifest.json":
            with pytest.raises(UserError, match=f"{name} is not the file of"):
                inspect(InspectConfig(data=str(folder)), RunOptions())
        flip_a_bit(folder / name)
    flip_a_bit(folder / "run.json", share=0)  # no longer JSON
    with pytest.raises(UserError, match=r"run\.json is not the file of"):
        inspect(InspectConfig(data=str(folder)), RunOptions())
    flip_a_bit(folder / "run.json", share=0)
    (folder / "README.md").write_text("mine")  # as people do
    BertMaskedLM.from_preset(str(folder))
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt is not listed .* delete .*SHA256SUMS"):
        BertMaskedLM.from_preset(str(folder))
    (folder / "SHA256SUMS").unlink()
    BertMaskedLM.from_preset(str(folder))


@pytest.mark.parametrize("kind", ["output", "hf_output"])
def test_the_card_says_what_was_done(exported, run, kind):
    manifest = read_manifest(str(run))
    card = Path(getattr(exported, kind), "README.md").read_text("utf-8")
    metadata, text = card.removeprefix("---\n").split("\n---\n", 1)
    assert yaml.safe_load(metadata) == {
        "library_name": "keras-hub" if kind == "output" else "transformers",
        "pipeline_tag": "fill-mask",
        "tags": ["bert", "bertmill"],
    }
    assert manifest.fingerprint in text
    assert manifest.config["data"][0]["fingerprint"] in text
    assert "learning_rate: 0.01" in text
    loss = manifest.facts["metrics"]["validation_loss"]
    assert f"| validation loss | {loss:.6g} | nats a masked token |" in text
    assert "greatest difference" in text
    # Nothing of the machine that wrote it.
    for folder in (exported.output, exported.hf_output, run, os.getcwd()):
        assert str(folder) not in text
        for path in Path(getattr(exported, kind)).rglob("*.*"):
            # run.json alone tells how this machine made them, and is not uploaded.
            is_private = path.name == "run.json" or path.is_dir()
            assert is_private or str(folder).encode() not in path.read_bytes(), path
    code = text.split("```python\n")[1].split("```")[0]
    assert ("AutoModelForMaskedLM" if kind == "hf_output" else "BertMaskedLM") in code


@pytest.mark.parametrize("kind", ["output", "hf_output"])
def test_the_card_of_a_classifier(exported_classifier, kind):
    folder = Path(getattr(exported_classifier, kind))
    card = (folder / "README.md").read_text("utf-8")
    assert yaml.safe_load(card.split("---\n")[1]) == {
        "datasets": ["stanfordnlp/imdb"],
        "language": ["en"],
        "library_name": "keras-hub" if kind == "output" else "transformers",
        "license": "apache-2.0",
        "pipeline_tag": "text-classification",
        "tags": ["bert", "bertmill"],
    }
    assert "| accuracy | 0.75 | share of examples |" in card
    assert "| macro f1 | 0.7 | 1 at best |" in card
    assert "| classes | bad, good |" in card
    if kind == "hf_output":
        config = json.loads((folder / "config.json").read_text())
        assert config["id2label"] == {"0": "bad", "1": "good"}
        assert config["label2id"] == {"bad": 0, "good": 1}
    # What the card says is part of the export.
    again = dataclasses.replace(exported_classifier, license=None)
    with pytest.raises(UserError, match="export of another run"):
        export(again, RunOptions())


def test_a_repeated_export_does_nothing(exported, capsys):
    path = os.path.join(exported.output, "manifest.json")
    before = os.stat(path).st_mtime_ns
    export(exported, RunOptions())
    assert os.stat(path).st_mtime_ns == before
    assert "finished already" in capsys.readouterr().err


def test_an_export_of_another_run_is_only_replaced_when_told(make_rows, run, tmp_path):
    other = train(make_rows(), tmp_path / "other", seed=1)
    output = str(tmp_path / "preset")
    export(ExportConfig(run=str(run), output=output), RunOptions())
    again = ExportConfig(run=str(other), output=output)
    mine = tmp_path / "preset" / "assets" / "notes.txt"
    mine.write_text("mine")
    with pytest.raises(UserError, match=r"holds assets/notes\.txt, which no export has"):
        export(again, RunOptions(overwrite=True))
    assert mine.read_text() == "mine"
    mine.unlink()
    with pytest.raises(UserError, match="export of another run"):
        export(again, RunOptions())
    export(again, RunOptions(overwrite=True))
    with open(os.path.join(output, "run.json"), encoding="utf-8") as file:
        assert json.load(file)["inputs"] == {"run": read_manifest(str(other)).fingerprint}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "preset"]


def test_nothing_else_is_ever_replaced(run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        config = ExportConfig(run=str(run), output=str(tmp_path))
        with pytest.raises(UserError, match="no export"):
            export(config, RunOptions(overwrite=overwrite))
        with pytest.raises(UserError, match="written by stage pretrain"):
            export(ExportConfig(run=str(run), output=str(run)), RunOptions(overwrite=overwrite))
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("renamed", [1, 2])
def test_killed_between_its_renames_it_finds_its_way_back(run, tmp_path, monkeypatch, renamed):
    output = tmp_path / "preset"
    config = ExportConfig(run=str(run), output=str(output))
    export(config, RunOptions())
    before = (output / "manifest.json").read_bytes()
    command = ("tests.trainer.killed_export", str(run), str(output), str(renamed))
    said = run_command_process(*command, status=-signal.SIGKILL)[1]
    assert output.exists() == (renamed == 2), said
    export(config, RunOptions())
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]
    assert (output / "manifest.json").read_bytes() == before


def test_one_output_in_the_other(run, tmp_path):
    inner = str(tmp_path / "preset" / "huggingface")
    for output, hf_output in ((str(tmp_path / "preset"), inner), (inner, str(tmp_path / "preset"))):
        with pytest.raises(UserError, match="--hf_output .*neither lie in the other"):
            config = ExportConfig(run=str(run), output=output, hf_output=hf_output)
            export(config, RunOptions())
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_comes_back_different_is_not_published(run, tmp_path, monkeypatch):
    from trainer.models.bert_masked_lm import BertMaskedLM

    original = BertMaskedLM.save_to_preset

    def save_damaged(task, folder):
        kernel = task.backbone.pooled_dense.kernel
        good = keras.ops.convert_to_numpy(kernel)
        kernel.assign(good + 0.01)
        original(task, folder)
        kernel.assign(good)

    monkeypatch.setattr(BertMaskedLM, "save_to_preset", save_damaged)
    config = ExportConfig(run=str(run), output=str(tmp_path / "preset"))
    with pytest.raises(RuntimeError, match="pooled_output of the reloaded model differs"):
        export(config, RunOptions())
    assert list(tmp_path.iterdir()) == []


def test_unfinished_and_damaged_runs(make_rows, run, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        export(ExportConfig(run=str(tmp_path / "x"), output=str(tmp_path / "y")), RunOptions())
    with pytest.raises(UserError, match="was written by stage tokenize"):
        export(ExportConfig(run=str(make_rows()), output=str(tmp_path / "y")), RunOptions())
    with pytest.raises(UserError, match="another folder than --output"):
        export(
            ExportConfig(run=str(run), output=str(tmp_path), hf_output=f"{tmp_path}/"), RunOptions()
        )
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    (damaged / "model.weights.h5").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"model\.weights\.h5 is not the file of SHA256SUMS"):
        export(ExportConfig(run=str(damaged), output=str(tmp_path / "y")), RunOptions())
    (damaged / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match=r"damaged \(.*its last checkpoint"):
        export(ExportConfig(run=str(damaged), output=str(tmp_path / "y")), RunOptions())
    shutil.copy(run / "model.weights.h5", damaged)
    manifest = json.loads((damaged / "manifest.json").read_text())
    manifest["config"]["mask"] = 3
    (damaged / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"damaged \(.*its last checkpoint"):
        export(ExportConfig(run=str(damaged), output=str(tmp_path / "y")), RunOptions())

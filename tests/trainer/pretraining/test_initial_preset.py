"""Going on from presets: the first loss is the source's, and what is exported is what was trained."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.records.manifest import read_manifest
from pipelines.text.extended_vocabulary import extend_vocabulary
from pipelines.text.vocabulary import Vocabulary
from tests.command_process import TINY
from tests.trainer.conftest import small_vocabulary
from tests.trainer.models.checks.outputs import outputs_of
from trainer.export import ExportConfig, export
from trainer.presets.trained_model import load_pretrained
from trainer.pretraining.checkpoints import Checkpoints
from trainer.pretraining.cluster import Cluster
from trainer.pretraining.config import PretrainConfig
from trainer.pretraining.initial_model import add_rows
from trainer.pretraining.plan import plan_again, plan_run

_OPTIONS = {"batch_size": 8, "steps": 4, "dropout": 0.0, "learning_rate": 0.01, "log_every": 1}
_OPTIONS["checkpoint_every"] = 2
_SIZES = {
    name: TINY[name] for name in ("num_layers", "num_heads", "hidden_dim", "intermediate_dim")
}
_UNUSED = ("[unused0]", "[unused1]")
_OLD = Vocabulary((*small_vocabulary(118).tokens[:5], *_UNUSED, *small_vocabulary(118).tokens[5:]))
_MODELS = {
    "exact": ("BertForMaskedLM", {"hidden_act": "gelu"}),
    "tanh": ("BertForMaskedLM", {"hidden_act": "gelu_new"}),
    "epsilon": ("BertForMaskedLM", {"hidden_act": "gelu", "layer_norm_eps": 1e-3}),
    "pairs": ("BertForPreTraining", {"hidden_act": "gelu"}),
    "encoder": ("BertModel", {}),
}
# Makes the models that runs go on from and says what their losses are on the first batch; then computes
# the outputs of exports, whose folders it is told. One process, because Transformers starts slowly.
_TRANSFORMERS = """
import json, sys, numpy as np, torch, transformers
place, size, models = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
losses = {}
for name, (kind, options) in models.items():
    torch.manual_seed(sorted(models).index(name))
    config = transformers.BertConfig(
        vocab_size=size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=40, initializer_range=0.3, **options
    )
    model = getattr(transformers, kind)(config).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(f"{place}/{name}")
    if kind == "BertModel":
        continue
    batch = np.load(f"{place}/{'pairs' if name == 'pairs' else 'rows'}.npz")
    batch = {n: torch.tensor(v) for n, v in batch.items()}
    with torch.no_grad():
        found = model(
            input_ids=batch["token_ids"].long(),
            attention_mask=batch["padding_mask"].long(),
            token_type_ids=batch["segment_ids"].long(),
        )
    logits = found.logits if kind == "BertForMaskedLM" else found.prediction_logits
    chosen = torch.take_along_dim(logits, batch["mask_positions"].long()[:, :, None], 1)
    each = torch.nn.functional.cross_entropy(
        chosen.flatten(0, 1), batch["mask_ids"].long().flatten(), reduction="none"
    )
    weights = batch["mask_weights"].flatten()
    losses[name] = [float((each * weights).sum() / weights.sum())]
    if kind == "BertForPreTraining":
        labels = batch["next_sentence_labels"].long()
        loss = torch.nn.functional.cross_entropy(found.seq_relationship_logits, labels)
        losses[name].append(float(loss))
json.dump(losses, open(f"{place}/losses.json", "w"))
print("made", flush=True)
for folder in map(str.strip, sys.stdin):
    model = transformers.BertForMaskedLM.from_pretrained(folder + "/hf").eval()
    rows = {n: torch.tensor(v).long() for n, v in np.load(folder + "/rows.npz").items()}
    with torch.no_grad():
        logits = model(
            input_ids=rows["token_ids"],
            attention_mask=rows["padding_mask"],
            token_type_ids=rows["segment_ids"],
        ).logits
    found = torch.take_along_dim(logits, rows["mask_positions"][:, :, None], 1)
    np.save(folder + "/logits.npy", found.numpy())
    print("read", flush=True)
"""


def rows_of(make_rows, **options):
    # No documents share a row: Transformers knows nothing of that.
    return make_rows(**{"packing": "full", "vocabulary": _OLD} | options)


def plan_from(preset, data, **options):
    place = preset and str(preset)
    options = {"data": (str(data),), "initial_preset": place, "output": "x"} | options
    return plan_run(PretrainConfig(**_OPTIONS | options))


def lines_of(output):
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def transformers(make_rows, tmp_path_factory):
    """(folder with one preset of each kind, the process that made them and awaits exports)."""
    if not all(importlib.util.find_spec(name) for name in ("transformers", "torch")):
        pytest.skip("needs transformers and torch")
    place = tmp_path_factory.mktemp("presets")
    for name, packing in (("rows", "full"), ("pairs", "pairs")):
        plan = plan_from(None, rows_of(make_rows, packing=packing))
        np.savez(place / f"{name}.npz", **plan.batch_maker(Cluster()).train_batch(0).arrays)
    command = [sys.executable, "-c", _TRANSFORMERS, str(place), str(_OLD.size), json.dumps(_MODELS)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout.readline() == "made\n"
        for name in _MODELS:
            (place / name / "vocab.txt").write_bytes(_OLD.as_file())
        yield place, process
        process.stdin.close()


@pytest.fixture(scope="module")
def presets(transformers):
    """(folder with one preset of each kind, losses of their first batch)."""
    return transformers[0], json.loads((transformers[0] / "losses.json").read_text())


@pytest.fixture(scope="module")
def run(presets, make_rows, pretrain_here, tmp_path_factory):
    """A run that went on from the preset "exact": its folder, and what it said."""
    output = tmp_path_factory.mktemp("exact") / "run"
    options = {"data": rows_of(make_rows), "initial_preset": presets[0] / "exact", **_OPTIONS}
    return output, pretrain_here(output=output, **options)


def test_a_run_begins_at_the_loss_of_its_source(presets, run):
    output, said = run
    assert lines_of(output)[0]["loss"] == pytest.approx(presets[1]["exact"][0], rel=2e-5)
    assert f"beginning with the weights of {presets[0]}/exact, which has no pooler: random" in said
    model = read_manifest(str(output)).facts["model"]
    assert (model["num_layers"], model["max_sequence_length"]) == (1, 40)


@pytest.mark.parametrize("name", ["tanh", "epsilon", "pairs"])
def test_the_first_loss_is_that_of_the_source(presets, make_rows, name):
    packing = "pairs" if name == "pairs" else "full"
    plan = plan_from(presets[0] / name, rows_of(make_rows, packing=packing))
    model, train_step, _ = plan.build(Cluster())
    found = train_step.evaluate(plan.batch_maker(Cluster()).train_batch(0).arrays).reshape(-1, 3)
    np.testing.assert_allclose(found[:, 0] / found[:, 2], presets[1][name], rtol=2e-5)
    assert plan.initial.describe_fresh(model) == ("" if name == "pairs" else "pooler")
    assert plan.dimensions["exact_gelu"] == (name != "tanh")
    assert plan.dimensions["layer_norm_epsilon"] == (1e-3 if name == "epsilon" else 1e-12)


def test_heads_that_a_preset_lacks_begin_afresh(presets, make_rows):
    plan = plan_from(presets[0] / "encoder", rows_of(make_rows, packing="pairs"))
    model, _, _ = plan.build(Cluster())
    assert plan.initial.describe_fresh(model) == "masked-LM head and no next-sentence head"
    assert plan.head == "portable"
    fresh, _, _ = plan_from(None, rows_of(make_rows, packing="pairs"), **_SIZES).build(Cluster())
    for mine, other in (
        (model.next_sentence_head, fresh.next_sentence_head),
        (model.masked_lm_head._intermediate_dense, fresh.masked_lm_head._intermediate_dense),
    ):
        for weight, expected in zip(mine.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, expected)


def test_exports_are_what_was_trained(run, transformers, tmp_path):
    keras_hub = pytest.importorskip("keras_hub")
    outputs = {"output": str(tmp_path / "preset"), "hf_output": str(tmp_path / "hf")}
    export(ExportConfig(run=str(run[0]), **outputs), RunOptions())
    trained = load_pretrained(str(run[0]), read_manifest(str(run[0])))
    rows = {name: trained.rows[name].astype(np.int32) for name in trained.task.input}
    expected = trained.outputs(trained.task)
    np.savez(tmp_path / "rows.npz", **rows)
    print(tmp_path, file=transformers[1].stdin, flush=True)
    assert transformers[1].stdout.readline() == "read\n"
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected["head"], atol=1e-4)
    # KerasHub knows BERT's own GELU only, and another epsilon for its head.
    hub = keras_hub.models.BertMaskedLM.from_preset(outputs["output"])
    np.testing.assert_allclose(outputs_of(hub, rows), expected["head"], atol=1e-2)


def test_a_run_with_a_checkpoint_needs_its_source_no_more(
    presets, run, make_rows, pretrain_here, tmp_path
):
    whole, again = run[0], tmp_path / "run"
    source, hidden = presets[0] / "exact", presets[0] / "hidden"
    options = {"data": rows_of(make_rows), "output": again, **_OPTIONS}
    # As if it had been killed after step 3.
    shutil.copytree(whole, again)
    (again / "manifest.json").unlink()
    (again / "checkpoints" / "step-00000004.npz").unlink()
    source.rename(hidden)
    try:
        assert "resuming after step 2" in pretrain_here(initial_preset=source, **options)
        arrays, expected = (Checkpoints(str(run)).load(4)[0] for run in (again, whole))
        for name, values in expected.items():
            np.testing.assert_array_equal(arrays[name], values, err_msg=name)
        assert "nothing to do" in pretrain_here(initial_preset=source, **options)
        # Its first step can be computed again where the source is, and only there.
        with pytest.raises(UserError, match="exact"):
            plan_again(str(again)).build(Cluster())
    finally:
        hidden.rename(source)
    plan_again(str(again)).build(Cluster())
    # Whatever it is called, other weights make another run.
    for other in ({"initial_preset": presets[0] / "tanh"}, _SIZES):
        said = pretrain_here(2, **options, **other)
        assert "initial_weights was '" in said, said
    shutil.copytree(source, tmp_path / "copy")
    assert "nothing to do" in pretrain_here(initial_preset=tmp_path / "copy", **options)


def test_a_new_piece_is_the_mean_of_those_that_spelled_it(presets, make_rows):
    pieces = {"w1s2": ("w1", "##s2"), "##s3s4": ("##s3", "##s4"), "w5w6": ("w5",), "α": ("[UNK]",)}
    pieces["w5w6"] = ("[UNK]",)
    new = extend_vocabulary(_OLD, list(pieces))
    plans = [
        plan_from(presets[0] / "tanh", rows_of(make_rows, vocabulary=vocabulary))
        for vocabulary in (_OLD, new)
    ]
    models = [plan.build(Cluster())[0] for plan in plans]
    assert plans[1].dimensions["vocabulary_size"] == new.size == _OLD.size + 2
    tables = [np.asarray(model.backbone.token_embedding.embeddings) for model in models]
    biases = [np.asarray(model.masked_lm_head.output_bias) for model in models]
    for before, after in (tables, biases):
        assert len(after) == new.size
        kept = [i for i in range(_OLD.size) if i not in (5, 6)]
        np.testing.assert_array_equal(after[kept], before[kept])
        for piece, spelled in pieces.items():
            mean = np.mean([before[_OLD.index[old]] for old in spelled], axis=0)
            np.testing.assert_allclose(after[new.index[piece]], mean, rtol=1e-5, atol=1e-7)


def test_rows_of_new_pieces():
    table = np.array([[1.0, 2], [3, 4], [5, 8]], np.float32)
    added = add_rows(table, 5, {1: (0, 2), 4: (2,), 3: (1, 1, 2)})
    np.testing.assert_allclose(added, [[1, 2], [3, 5], [5, 8], [11 / 3, 16 / 3], [5, 8]], rtol=1e-6)


def test_an_export_of_ours_is_the_run_it_came_from(finished_run, make_rows, tmp_path):
    outputs = {"output": str(tmp_path / "preset"), "hf_output": str(tmp_path / "hf")}
    export(ExportConfig(run=str(finished_run), **outputs), RunOptions())
    expected = plan_from(None, make_rows(), initial_run=str(finished_run))
    weights = expected.build(Cluster())[0].get_weights()
    for place in outputs.values():
        plan = plan_from(place, make_rows())
        assert plan.head == "portable"
        for found, trained in zip(plan.build(Cluster())[0].get_weights(), weights, strict=True):
            np.testing.assert_array_equal(found, trained)


def check(**options):
    config = PretrainConfig(**_OPTIONS | {"output": "x"} | options)
    from trainer.pretrain import pretrain

    pretrain(config, RunOptions(dry_run=True))


@pytest.mark.parametrize(
    ("options", "rows", "message"),
    [
        ({}, {}, None),
        ({"hidden_dim": 16, "model": "bert_tiny"}, {}, "has num_layers 1"),
        ({"model": "bert_base"}, {}, "has num_layers 1, the options of this run say 12"),
        ({"max_sequence_length": 512}, {}, "has max_sequence_length 40, the options"),
        ({"initial_run": "y"}, {}, "--initial_run y and --initial_preset .* give one of them"),
        ({"initial_positions": "sinusoidal"}, {}, "--initial_preset brings its own"),
        ({}, {"vocabulary": small_vocabulary(120)}, "was trained with another vocabulary"),
        (
            {},
            {"seq_length": 64},
            "have 64 tokens, .* has 40 positions; tokenize with --seq_length 40",
        ),
        ({"initial_preset": "bert_tinny_en"}, {}, "'bert_tinny_en' is not a directory"),
        ({"initial_preset": "/nowhere/bert"}, {}, "no such directory"),
    ],
)
def test_what_contradicts_the_preset(presets, make_rows, options, rows, message):
    preset = str(presets[0] / "encoder")
    options = {"data": (str(rows_of(make_rows, **rows)),), "initial_preset": preset} | options
    if message is None:
        check(**options)
        return
    with pytest.raises(UserError, match=message) as caught:
        check(**options)
    assert "\n" not in str(caught.value)


def test_text_normalised_otherwise(presets, make_rows, tmp_path):
    shutil.copytree(presets[0] / "encoder", tmp_path / "cased")
    (tmp_path / "cased" / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    with pytest.raises(UserError, match=r"trained with lowercase false, but .* made with true"):
        check(data=(str(rows_of(make_rows)),), initial_preset=str(tmp_path / "cased"))
    (tmp_path / "cased" / "vocab.txt").unlink()
    with pytest.raises(UserError, match=r"vocab\.txt"):
        check(data=(str(rows_of(make_rows)),), initial_preset=str(tmp_path / "cased"))

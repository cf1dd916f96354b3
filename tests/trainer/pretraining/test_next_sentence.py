"""Pretraining on pairs: labels reach the model, both losses train, and the export holds both heads."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

keras = pytest.importorskip("keras")
if keras.config.backend() != "jax":
    pytest.skip("needs the JAX backend", allow_module_level=True)

from pipelines.command.run import RunOptions  # noqa: E402
from pipelines.errors import UserError  # noqa: E402
from pipelines.records.manifest import read_manifest  # noqa: E402
from trainer.export import ExportConfig, export  # noqa: E402
from trainer.presets.trained_model import load_pretrained  # noqa: E402
from trainer.pretrain import pretrain  # noqa: E402
from trainer.pretraining.checkpoints import Checkpoints  # noqa: E402
from trainer.pretraining.cluster import Cluster  # noqa: E402
from trainer.pretraining.config import PretrainConfig  # noqa: E402
from trainer.pretraining.plan import plan_run  # noqa: E402
from trainer.pretraining.startup import without_tensorflow  # noqa: E402

_TINY = {
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 64,
    "intermediate_dim": 64,
    "batch_size": 16,
    "learning_rate": 0.003,
    "log_every": 50,
    "dropout": 0.0,
}


@pytest.fixture(scope="module")
def pairs(make_rows):
    return make_rows(packing="pairs", train=1200, validation=37)


@pytest.fixture(scope="module")
def finished(pairs, tmp_path_factory):
    output = tmp_path_factory.mktemp("paired")
    config = PretrainConfig(data=(str(pairs),), output=str(output), steps=800, **_TINY)
    without_tensorflow(pretrain)(config, RunOptions())
    return output


def plan_of(data, **options):
    config = PretrainConfig(data=tuple(map(str, data)), output="x", steps=8, **_TINY | options)
    return plan_run(config)


def test_labels_come_from_the_rows(pairs, make_examples):
    maker = plan_of([pairs]).batch_maker(Cluster())
    arrays = maker.train_batch(0).arrays
    # The rows' rule, read off the tokens: behind the first [SEP] it counts on, or downwards.
    second = arrays["segment_ids"].argmax(axis=1)
    clean = read_tokens(pairs, maker, 0)
    falling = clean[np.arange(16), second + 2] < clean[np.arange(16), second + 1]
    rising = clean[np.arange(16), second + 2] > clean[np.arange(16), second + 1]
    plain = falling ^ rising
    assert plain.any()
    np.testing.assert_array_equal(arrays["next_sentence_labels"][plain], falling[plain])
    # The last part of validation is filled up with rows that do not count.
    last = maker.validation_batch(2).arrays
    assert (last["next_sentence_labels"] >= 0).sum() == 37 - 32
    masked = plan_of([make_examples(pairs)]).batch_maker(Cluster()).train_batch(0).arrays
    np.testing.assert_array_equal(masked["next_sentence_labels"], arrays["next_sentence_labels"])


def read_tokens(folder, maker, step):
    from pipelines.records.dense_rows import dense_rows

    batch = maker.train_batch(step)
    reader = maker._readers["train"][0]
    columns = reader.read(batch.row, batch.epoch)
    return dense_rows(columns, 32, 0)["token_ids"].astype(int)


def test_both_losses_are_learned(finished):
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    first, last = lines[0], lines[-1]
    assert 0.4 < first["next_sentence_loss"] < 0.9
    assert last["next_sentence_accuracy"] > 0.9
    assert last["validation_next_sentence_accuracy"] > 0.8
    assert last["validation_next_sentence_loss"] < 0.5
    assert last["mean_loss"] < first["mean_loss"] - 0.3
    assert last["loss"] != last["next_sentence_loss"]
    assert read_manifest(str(finished)).facts["next_sentence"] is True


def test_the_gradient_is_that_of_both_means(pairs):
    plans = [plan_of([pairs], grad_accumulation=parts) for parts in (1, 4)]
    (model, whole, _), (_, parts, _) = (plan.build(Cluster()) for plan in plans)
    batch = plans[0].batch_maker(Cluster()).train_batch(0).arrays
    # Rows with very different numbers of masks: a mean over masks would weigh rows by them.
    batch["mask_weights"] = batch["mask_weights"].copy()
    batch["mask_weights"][::2, 1:] = 0
    import jax

    def loss(weights):
        states = [v.value for v in model.non_trainable_variables]
        outputs, _ = model.stateless_call(weights, states, batch, training=False)
        rows = outputs["next_sentence_weight_sum"]
        return outputs["loss"] + outputs["next_sentence_loss_sum"] / rows

    weights = [v.value for v in model.trainable_variables]
    gradients = jax.jit(jax.grad(loss))(weights)
    norm = float(np.sqrt(sum(np.square(np.asarray(g)).sum() for g in gradients)))
    values = [np.asarray(step.run(0, batch)) for step in (whole, parts)]
    assert values[0].shape == (7,)
    assert values[0][3] == pytest.approx(norm, rel=1e-4)
    np.testing.assert_allclose(values[1], values[0], rtol=1e-4)


def test_it_is_left_out_where_it_is_not_wanted_or_not_possible(pairs, make_rows):
    assert plan_of([pairs]).next_sentence
    assert "next_sentence" not in plan_of([pairs], next_sentence_loss="false").deciding()
    assert not plan_of([make_rows()]).next_sentence
    assert not plan_of([pairs, make_rows()]).next_sentence
    with pytest.raises(UserError, match="--next_sentence_loss true: the rows in .* have no labels"):
        plan_of([make_rows()], next_sentence_loss="true")


_THEIRS = """
import sys
import numpy as np, torch, transformers
folder = sys.argv[1]
model = transformers.BertForPreTraining.from_pretrained(folder + "/hf").eval()
rows = {name: torch.tensor(values).long() for name, values in np.load(folder + "/rows.npz").items()}
with torch.no_grad():
    found = model(
        rows["token_ids"],
        attention_mask=rows["padding_mask"],
        token_type_ids=rows["segment_ids"],
    )
np.save(folder + "/logits.npy", found.seq_relationship_logits.numpy())
"""


def test_the_export_is_a_model_for_pretraining(finished, tmp_path):
    if not all(importlib.util.find_spec(name) for name in ("transformers", "torch")):
        pytest.skip("needs transformers and torch")
    options = {"output": str(tmp_path / "preset"), "hf_output": str(tmp_path / "hf")}
    export(ExportConfig(run=str(finished), **options), RunOptions())
    trained = load_pretrained(str(finished), read_manifest(str(finished)))
    rows = trained.rows
    pooled = trained.outputs(trained.task)["pooled_output"]
    expected = keras.ops.convert_to_numpy(trained.next_sentence_head(pooled))
    # In a process of its own: Torch and TensorFlow do not always bear each other in one.
    names = ("token_ids", "padding_mask", "segment_ids")
    np.savez(tmp_path / "rows.npz", **{name: rows[name] for name in names})
    subprocess.run([sys.executable, "-c", _THEIRS, str(tmp_path)], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, atol=1e-5)
    # The published pooler is the trained one: with it the labels come out.
    right = expected.argmax(axis=1) == rows["next_sentence_labels"]
    assert right.mean() > 0.7


def test_checkpoints_and_phases_hold_the_head(finished, pairs):
    names = Checkpoints(str(finished), 2).load(800)[0]
    assert any(name.endswith("next_sentence/kernel") for name in names)
    model, _, _ = plan_of([pairs], initial_run=str(finished)).build(Cluster())
    trained = load_pretrained(str(finished), read_manifest(str(finished)))
    np.testing.assert_array_equal(
        model.next_sentence_head.kernel.numpy(), trained.next_sentence_head.kernel.numpy()
    )
    # Without labels the head is left behind.
    plain = plan_of([pairs], initial_run=str(finished), next_sentence_loss="false")
    other, _, _ = plain.build(Cluster())
    assert other.next_sentence_head is None
    np.testing.assert_array_equal(
        other.backbone.pooled_dense.kernel.numpy(),
        trained.task.backbone.pooled_dense.kernel.numpy(),
    )

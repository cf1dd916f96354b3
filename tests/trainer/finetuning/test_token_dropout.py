from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from pipelines.command.run import RunOptions
from trainer.finetune import finetune
from trainer.finetuning.run import drop_tokens

_TOKENIZER = SimpleNamespace(start_token_id=2, end_token_id=3, pad_token_id=0, mask_token_id=4)


def test_tokens_are_hidden_at_the_rate_asked_for_and_special_ones_never():
    ids = np.full((40, 3, 100), 9, np.int32)
    ids[:, :, 0], ids[:, :, 60], ids[:, :, 61:] = 2, 3, 0
    dropped = drop_tokens(ids, 0.2, 1, _TOKENIZER)
    assert dropped.dtype == np.int32
    assert set(np.unique(dropped)) == {0, 2, 3, 4, 9}
    np.testing.assert_array_equal(dropped[ids != 9], ids[ids != 9])
    share = (dropped == 4).sum() / (ids == 9).sum()
    assert abs(share - 0.2) < 4 * np.sqrt(0.2 * 0.8 / (ids == 9).sum())
    np.testing.assert_array_equal(dropped, drop_tokens(ids, 0.2, 1, _TOKENIZER))
    assert (dropped != drop_tokens(ids, 0.2, 2, _TOKENIZER)).mean() > 0.1


def test_training_sees_hidden_tokens_and_validation_does_not(windows_config, tmp_path):
    reports = {
        (rate, epochs): finetune(
            replace(
                windows_config,
                token_dropout=rate,
                epochs=epochs,
                output=str(tmp_path / f"{rate}-{epochs}"),
            ),
            RunOptions(),
        )
        for rate, epochs in ((0.0, 1), (0.3, 1), (0.3, 25))
    }
    assert reports[0.3, 1]["loss"] != reports[0.0, 1]["loss"]
    # Were the deciding word hidden there too, three in twenty would be right by chance only.
    assert reports[0.3, 25]["accuracy"] > 0.95

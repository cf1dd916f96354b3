from __future__ import annotations

from types import SimpleNamespace

import numpy as np

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

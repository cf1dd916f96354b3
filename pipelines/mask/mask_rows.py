"""Masks rows for masked language modelling: the one function that every part of the system uses.

The stage before training writes copy 0, 1, … of each row with it and the trainer computes copy
e in epoch e with it. Every draw is keyed by (seed, row_id, copy, position, purpose), so a row's
masks depend on nothing else: not on its batch, shard, worker, padding or the order of rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.keyed_random import as_uint64, fold, purpose_key
from pipelines.mask.config import MaskConfig, selection_budgets
from pipelines.mask.replace_tokens import replace_tokens
from pipelines.mask.select import select_tokens, select_units
from pipelines.mask.words import draw_numbers, draw_spans, find_words
from pipelines.text.vocabulary import SPECIAL_TOKENS, Vocabulary

# Rows are masked in blocks of about this many tokens, whose numbers stay in the L2 cache.
_BLOCK_TOKENS = 1 << 17


def mask_dense_rows(
    dense: Mapping[str, NDArray],
    vocabulary: Vocabulary,
    config: MaskConfig,
    copy: int | NDArray[np.integer],
) -> tuple[dict[str, NDArray], Counter[str]]:
    """``mask_rows`` for rows from disk (``pipelines.records.dense_rows``) and their vocabulary.

    Special tokens are never chosen; ``copy`` is one number for all rows or one for each.
    """
    return mask_rows(
        dense["token_ids"],
        dense["row_id"],
        config=config,
        vocabulary_size=vocabulary.size,
        mask_token_id=vocabulary.mask_id,
        unselectable_token_ids=[vocabulary.id_of(token) for token in SPECIAL_TOKENS],
        padding_mask=dense["padding_mask"],
        is_continuation=vocabulary.is_continuation,
        document_ids=dense["document_ids"],
        copy=copy,
    )


def mask_rows(
    token_ids: NDArray[np.int32],
    row_id: NDArray[np.uint64],
    *,
    config: MaskConfig,
    vocabulary_size: int,
    mask_token_id: int,
    unselectable_token_ids: Sequence[int],
    padding_mask: NDArray[np.bool_] | None = None,
    is_continuation: NDArray[np.bool_] | None = None,
    document_ids: NDArray[np.int32] | None = None,
    copy: int | NDArray[np.integer] = 0,
) -> tuple[dict[str, NDArray], Counter[str]]:
    """Chooses positions of each row to predict and hides most of them.

    Args:
        token_ids: int32[N, L].
        row_id: uint64[N], the identity of each row: equal ids give equal masks.
        config: see ``MaskConfig``.
        vocabulary_size, mask_token_id: of the vocabulary that the rows were made with.
        unselectable_token_ids: never chosen (padding, [CLS], [SEP], …).
        padding_mask: bool[N, L], False where there is no token; None: the padding is marked by
            an unselectable token id alone.
        is_continuation: bool[vocabulary_size], True for pieces that continue a word (``##s``);
            needed for the strategies ``whole_word`` and ``span``.
        document_ids: int32[N, L]; no word or span crosses from one document to the next.
        copy: which masking of these rows, 0, 1, …: one number for all or int[N], one for each.

    Returns:
        ``token_ids`` int32[N, L] with the chosen positions replaced; ``mask_positions`` int32
        [N, S], sorted; ``mask_ids`` int32[N, S], the original ids there; ``mask_weights``
        float32[N, S], 1.0, or 0.0 where a row has fewer than S (position 0, id 0). And counts:
        ``rows``, ``rows_without_selection``, ``tokens_selectable``, ``tokens_selected`` =
        ``tokens_masked`` + ``tokens_randomised`` + ``tokens_kept``, and
        ``selections_cut_by_length``: positions beyond ``mask_selection_length``.

    Raises:
        UserError: an impossible config, or a token id outside the vocabulary.
        ValueError: no ``is_continuation`` of the right length for words or spans.
    """
    config.check_masking(vocabulary_size=vocabulary_size, mask_token_id=mask_token_id)
    if config.strategy == "token":
        is_continuation = None
    elif is_continuation is None or len(is_continuation) != vocabulary_size:
        raise ValueError(f"strategy {config.strategy!r} needs is_continuation[vocabulary_size]")
    unselectable = _unselectable_table(unselectable_token_ids, vocabulary_size)
    token_ids = np.ascontiguousarray(token_ids, np.int32)
    rows, seq_length = token_ids.shape
    width = config.selection_length(seq_length)
    outputs: dict[str, NDArray] = {
        "token_ids": token_ids.copy(),
        "mask_positions": np.zeros((rows, width), np.int32),
        "mask_ids": np.zeros((rows, width), np.int32),
        "mask_weights": np.zeros((rows, width), np.float32),
    }
    if not token_ids.size:
        return outputs, Counter(rows=rows, rows_without_selection=rows)
    row_keys = fold(purpose_key(config.seed, "masking"), as_uint64(row_id), copy)
    purpose_keys = fold(row_keys, np.arange(4)[:, None])
    counts: Counter[str] = Counter()
    step = max(1, _BLOCK_TOKENS // seq_length)
    for start in range(0, rows, step):
        block = slice(start, start + step)
        ids = token_ids[block]
        _check_ids(ids, row_id[block], vocabulary_size)
        selection_keys, span_keys, choice_keys, token_keys = purpose_keys[:, block]
        selectable = ~unselectable.take(ids)
        if padding_mask is not None:
            selectable &= padding_mask[block]
        # (Three times as fast as count_nonzero along an axis.)
        tokens_selectable = np.add.reduce(selectable, axis=1, dtype=np.int32)
        wanted = selection_budgets(tokens_selectable, config.mask_selection_rate)
        budgets = np.minimum(wanted, width)

        draws = draw_numbers(selection_keys, seq_length)
        if is_continuation is None:
            leaders = indices = select_tokens(draws, selectable, budgets)
        else:
            documents = None if document_ids is None else document_ids[block]
            units = words = find_words(ids, selectable, is_continuation, documents)
            if config.strategy == "span":
                units = draw_spans(words, seq_length, documents, span_keys)
            indices, leaders = select_units(units, draws, budgets, words.starts)
            if config.strategy == "whole_word":  # the pieces of a word are replaced one by one
                leaders = indices

        counts["tokens_selectable"] += int(tokens_selectable.sum())
        counts["selections_cut_by_length"] += int((wanted - budgets).sum())
        counts.update(
            replace_tokens(
                {name: array[block] for name, array in outputs.items()},
                indices,
                leaders,
                choice_keys=choice_keys,
                token_keys=token_keys,
                config=config,
                vocabulary_size=vocabulary_size,
                mask_token_id=mask_token_id,
            )
        )
    return outputs, counts


def _unselectable_table(ids: Sequence[int], vocabulary_size: int) -> NDArray[np.bool_]:
    table = np.zeros(vocabulary_size, np.bool_)
    for token_id in ids:
        if not 0 <= token_id < vocabulary_size:
            raise UserError(
                f"unselectable token id {token_id} is outside the vocabulary of "
                f"{vocabulary_size} pieces"
            )
        table[token_id] = True
    return table


def _check_ids(ids: NDArray[np.int32], row_id: NDArray[np.uint64], vocabulary_size: int) -> None:
    if ids.min() < 0 or ids.max() >= vocabulary_size:
        row, position = np.argwhere((ids < 0) | (ids >= vocabulary_size))[0]
        raise UserError(
            f"token id {ids[row, position]} at position {position} of row {row_id[row]} is "
            f"outside the vocabulary of {vocabulary_size} pieces: the rows were made with "
            "another vocabulary"
        )

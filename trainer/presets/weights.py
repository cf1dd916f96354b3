"""Weights of presets: HDF5 files in Keras' layout, read without running or following anything.

Links out of the file and virtual data sets could read other files of the machine: such a file is
refused before Keras sees it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from pipelines.errors import UserError, one_line
from pipelines.storage.name_errors import naming

# What a file takes at most, with HDF5's own tables.
_WEIGHT_BYTES, _BYTES_A_VARIABLE = 4, 4096
# Keras nests layers in layers: ours are 6 deep.
_MOST_LEVELS = 32


def check_weights_file(path: str) -> dict[str, tuple[int, ...]]:
    """The shapes of all arrays in a weights file by their path in it.

    Raises:
        UserError: not an HDF5 file, or one that refers to other files, goes round in circles, or
            claims arrays that it does not hold.
    """
    import h5py

    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with h5py.File(path, "r") as file:
            for name, item in _items(file, path):
                if not isinstance(item, h5py.Dataset):
                    continue
                if item.is_virtual or item.external:
                    raise UserError(f"{path}: {name} keeps its data in another file; refused")
                if item.nbytes > os.path.getsize(path):
                    raise UserError(f"{path}: {name} claims more than the file holds; refused")
                shapes[name] = item.shape
    except UserError:
        raise
    except Exception as error:  # what h5py raises for damaged files is of many classes
        raise UserError(
            f"{path}: not a readable HDF5 file ({one_line(error)[:240]}); the preset is damaged"
        ) from None
    return shapes


def _items(file: Any, path: str) -> Iterator[tuple[str, Any]]:
    """All groups and arrays of a file by their path in it. (h5py's own visits take hours for a path of
    thousands of groups.)"""
    import h5py

    waiting = [("", file)]
    seen = {h5py.h5o.get_info(file.id).addr}
    while waiting:
        inside, group = waiting.pop()
        for key in group:
            name = f"{inside}{key}"
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise UserError(f"{path}: {name} is a link to elsewhere; refused")
            item = group[key]
            place = h5py.h5o.get_info(item.id).addr
            if place in seen or name.count("/") > _MOST_LEVELS:
                raise UserError(f"{path}: {name} is nested too deeply, or in itself; refused")
            seen.add(place)
            yield name, item
            if isinstance(item, h5py.Group):
                waiting.append((f"{name}/", item))


def check_vocabulary(backbone: Any, preprocessor: Any, source: str = "") -> None:
    """A UserError where the tokenizer has ids that the embedding has no row for."""
    tokenizer = getattr(preprocessor, "tokenizer", None)
    # A model that Keras saved gets its vocabulary after it was made.
    size = len(getattr(tokenizer, "vocabulary", None) or ())
    if size > backbone.vocabulary_size:
        raise UserError(
            f"{source}the vocabulary has {size:,} pieces but the embedding only "
            f"{backbone.vocabulary_size:,} rows; they belong to different models"
        )


def load_backbone_weights(backbone: Any, path: str) -> None:
    """Fills a backbone; a UserError where the file does not fit it."""
    shapes = check_weights_file(path)
    for kind, layer, argument in (
        ("reversible_embedding", backbone.token_embedding, "vocabulary_size"),
        ("position_embedding", backbone.position_embedding, "max_sequence_length"),
    ):
        expected = tuple(layer.weights[0].shape)
        shape = shapes.get(f"layers/{kind}/vars/0", expected)
        if shape != expected:
            raise UserError(
                f"{path}: the {kind} is {shape} but {argument} and hidden_dim in config.json make "
                f"it {expected}; the files belong to different presets"
            )
    _load(backbone, path)


def load_weights_file(model: Any, path: str, backbone: Any = None) -> None:
    """Fills a model, or its own layers without its ``backbone``; a UserError where the file does not
    fit."""
    check_weights_file(path)
    _load(model, path, backbone)


def save_weights(model: Any, path: str, backbone: Any = None) -> None:
    """Writes a model's weights, or those of its own layers without its ``backbone``.

    Raises OSError where there is no room: HDF5 would find that out on its way, and crash later.
    """
    weights = model.count_params() - (backbone.count_params() if backbone else 0)
    if hasattr(os, "posix_fallocate"):
        with naming(path), open(path, "wb") as file:
            most = weights * _WEIGHT_BYTES + len(model.weights) * _BYTES_A_VARIABLE
            os.posix_fallocate(file.fileno(), 0, most)
    import keras

    keras.saving.save_weights(model, path, objects_to_skip=_layers_of(backbone))


def _layers_of(backbone: Any) -> list[Any]:
    return list(backbone._flatten_layers()) if backbone else []


def _load(model: Any, path: str, backbone: Any = None) -> None:
    import keras

    try:
        keras.saving.load_weights(model, path, objects_to_skip=_layers_of(backbone))
    except Exception as error:  # as above, and what Keras makes of other content
        raise UserError(
            f"{path}: does not fit the configuration beside it ({one_line(error)[:240]})"
        ) from None

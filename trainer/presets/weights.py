"""Weights of presets: HDF5 files in Keras' layout, read without running or following anything.

Links out of the file and virtual data sets could read other files of the machine: such a file is
refused before Keras sees it.
"""

from __future__ import annotations

from typing import Any

import keras

from pipelines.command.known_errors import one_line
from pipelines.errors import UserError


def check_weights_file(path: str) -> dict[str, tuple[int, ...]]:
    """The shapes of all arrays in a weights file by their path in it.

    Raises:
        UserError: not an HDF5 file, or one that refers to other files.
    """
    import h5py

    shapes: dict[str, tuple[int, ...]] = {}
    links: dict[str, Any] = {}
    try:
        with h5py.File(path, "r") as file:
            file.visititems_links(links.__setitem__)
            for name, link in links.items():
                if not isinstance(link, h5py.HardLink):
                    raise UserError(f"{path}: {name} is a link to elsewhere; refused")
                item = file[name]
                if isinstance(item, h5py.Dataset):
                    if item.is_virtual or item.external:
                        raise UserError(f"{path}: {name} keeps its data in another file; refused")
                    shapes[name] = item.shape
    except UserError:
        raise
    except Exception as error:  # what h5py raises for damaged files is of many classes
        raise UserError(
            f"{path}: not a readable HDF5 file ({one_line(error)[:240]}); the preset is damaged"
        ) from None
    return shapes


def check_vocabulary(backbone: Any, preprocessor: Any, preset: str) -> None:
    """A UserError where the tokenizer has ids that the embedding has no row for."""
    tokenizer = getattr(preprocessor, "tokenizer", None)
    size = getattr(tokenizer, "vocabulary_size", lambda: 0)()
    if size > backbone.vocabulary_size:
        raise UserError(
            f"preset {preset!r}: its vocabulary has {size:,} pieces but the embedding only "
            f"{backbone.vocabulary_size:,} rows; the files belong to different presets"
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
    _load(backbone, path, [])


def load_task_weights(task: Any, path: str) -> None:
    """Fills a task's own layers, not its backbone; a UserError where the file does not fit it."""
    check_weights_file(path)
    _load(task, path, _layers_of(task.backbone))


def save_task_weights(task: Any, path: str) -> None:
    """Writes a task's own layers, without its backbone."""
    keras.saving.save_weights(task, path, objects_to_skip=_layers_of(task.backbone))


def _layers_of(backbone: Any) -> list[Any]:
    return list(backbone._flatten_layers())


def _load(model: Any, path: str, skipped: list[Any]) -> None:
    try:
        keras.saving.load_weights(model, path, objects_to_skip=skipped)
    except Exception as error:  # as above, and what Keras makes of other content
        raise UserError(
            f"{path}: does not fit the configuration beside it ({one_line(error)[:240]})"
        ) from None

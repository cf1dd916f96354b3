"""The tensors in the files of a Hugging Face directory, by the names that its BERT has today.

Only safetensors are read: the other formats are pickles, or belong to other frameworks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError, one_line
from pipelines.storage.json_file import read_json
from trainer.presets.fetch import fetch_file, find_file

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLE = "pytorch_model.bin"
_OTHERS = ("pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")
_TO_SAFETENSORS = (
    'python -c "import torch, safetensors.torch as s; '
    "s.save_file({n: t.clone() for n, t in torch.load('pytorch_model.bin', "
    "weights_only=True).items()}, 'model.safetensors')\""
)
_TYPES = ("float16", "bfloat16", "float32", "float64")
_WRAPPERS = ("module.", "_orig_mod.", "bert.")  # DataParallel, torch.compile, and a task's encoder


def weights_files(preset: str) -> list[str]:
    """The local paths of the files with the weights. Raises UserError where there are none."""
    if path := find_file(preset, _WEIGHTS):
        return [path]
    if index := find_file(preset, _INDEX):
        parts = read_json(index).get("weight_map")
        if not isinstance(parts, dict) or not all(isinstance(p, str) for p in parts.values()):
            raise UserError(f"{index} is damaged: no weight_map of file names; get the file again")
        return [fetch_file(preset, part) for part in sorted(set(parts.values()))]
    if find_file(preset, _PICKLE):
        raise UserError(
            f"preset {preset!r} has no file {_WEIGHTS}, only {_PICKLE}, which could run code and is "
            f"not read; convert it in its folder: {_TO_SAFETENSORS}"
        )
    for name in _OTHERS:
        if find_file(preset, name):
            raise UserError(
                f"preset {preset!r} has no file {_WEIGHTS}, only {name}; load it in Transformers and "
                "save it again with save_pretrained"
            )
    return [fetch_file(preset, _WEIGHTS)]


def read_tensors(preset: str) -> dict[str, NDArray[Any]]:
    """All tensors, by their names without "bert." and what else may stand before them."""
    tensors: dict[str, NDArray[Any]] = {}
    for path in weights_files(preset):
        for stored, tensor in _read_safetensors(path).items():
            name = _name_of_today(stored)
            if name in tensors:
                raise UserError(f"{path}: {stored} is a second {name}; keep one of the two")
            tensors[name] = tensor
    return tensors


def as_float32(tensor: NDArray[Any], name: str, source: str) -> NDArray[np.float32]:
    """A tensor of any float type. Raises UserError for another type."""
    if tensor.dtype.name not in _TYPES:
        raise UserError(
            f"{source}: {name} is {tensor.dtype.name}, not a float: quantized weights are not "
            "supported; get the original model"
        )
    return np.asarray(tensor, np.float32)


def _read_safetensors(path: str) -> dict[str, NDArray[Any]]:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    except Exception as error:  # of many classes, where a file is damaged
        raise UserError(f"{path}: not readable as safetensors ({one_line(error)[:240]})") from None


def _name_of_today(name: str) -> str:
    while wrapper := next(filter(name.startswith, _WRAPPERS), None):
        name = name.removeprefix(wrapper)
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
    return name.replace("LayerNorm.beta", "LayerNorm.bias")

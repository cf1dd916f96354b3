"""The local path of a preset's file, wherever the preset lives.

Downloads go through ``kagglehub`` and ``huggingface_hub`` (imported only then), one file at a time
into their caches. A failed download is one UserError.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from pipelines.errors import UserError
from pipelines.records.checksums import check_folder
from pipelines.records.preset_folder import preset_folder
from trainer.presets.builtin import BUILTIN_PRESETS, unknown_preset

_KAGGLE = "kaggle://"
_HUGGING_FACE = "hf://"
# BERT-large has 1.4e9; a server may claim more, and send it for ever.
_MOST_BYTES = 50_000_000_000


def check_preset(preset: str) -> None:
    """Raises UserError where a file of a local preset is not as the checksums in it say, if any are.

    What is downloaded is checked by those who download it.
    """
    if os.path.isdir(preset):
        check_folder(preset_folder(os.fspath(preset)))


def fetch_file(preset: str, path: str) -> str:
    """The local path of file ``path`` of a preset; UserError where it cannot be had.

    ``preset`` is a built-in name, ``kaggle://org/model/keras/variation[/version]``,
    ``hf://org/model`` or a directory (the output of
    ``trainer.finetune`` too); ``path`` is relative to it, with "/".
    """
    local = find_file(preset, path)
    if local is None:
        raise UserError(f"preset {preset!r} has no file {path}; is it a complete preset?")
    return local


def find_file(preset: str, path: str) -> str | None:
    """As ``fetch_file``, but None where the preset exists without this file."""
    preset = os.fspath(preset)
    if path.startswith("/") or ".." in path.split("/") or "\\" in path:
        raise UserError(f"preset {preset!r} names the file {path!r} outside itself; refused")
    if os.path.isdir(preset):
        local = os.path.join(preset_folder(preset), *path.split("/"))
        return local if os.path.isfile(local) else None
    if preset in BUILTIN_PRESETS:
        return _from_kaggle(BUILTIN_PRESETS[preset]["kaggle_handle"], path, preset)
    if preset.startswith(_KAGGLE):
        return _from_kaggle(preset, path, preset)
    if preset.startswith(_HUGGING_FACE):
        return _from_hugging_face(preset, path)
    if "/" in preset or os.path.exists(preset):
        raise UserError(f"preset {preset!r}: no such directory")
    raise unknown_preset(preset)


def _from_kaggle(handle: str, path: str, preset: str) -> str | None:
    kagglehub = _import("kagglehub", preset)
    parts = handle.removeprefix(_KAGGLE).split("/")
    if len(parts) not in (4, 5):
        raise UserError(
            f"preset {preset!r}: a Kaggle handle is kaggle://org/model/keras/variation[/version]"
        )
    try:
        return kagglehub.model_download("/".join(parts), path)
    except Exception as error:  # network, HTTP status, missing file: many unrelated classes
        message = str(error)
        if "not present in the model files" in message or "404 Client Error" in message:
            return None
        raise _download_failed(preset, path, "Kaggle", error) from None


def _from_hugging_face(preset: str, path: str) -> str | None:
    hub = _import("huggingface_hub", preset)
    try:
        # An object of httpx; those of earlier versions have other hooks.
        hooks = getattr(hub.get_session(), "event_hooks", {}).get("response", [])
        if _check_headers not in hooks:
            hooks.append(_check_headers)
        return hub.hf_hub_download(repo_id=preset.removeprefix(_HUGGING_FACE), filename=path)
    except Exception as error:  # network, HTTP status, malformed name: many unrelated classes
        offline = isinstance(error, hub.errors.LocalEntryNotFoundError)  # and not in the cache
        if isinstance(error, hub.errors.EntryNotFoundError) and not offline:
            return None
        raise _download_failed(preset, path, "Hugging Face", error) from None


def _check_headers(response: Any) -> None:
    """Raises UserError for a header that would name a file outside the cache, or fill the disk."""
    for header in ("ETag", "X-Linked-Etag"):
        name = response.headers.get(header, "").removeprefix("W/").strip('"')
        if "/" in name or "\\" in name or name == "..":
            raise UserError(f"the server's {header} is {name[:60]!r}; refused")
    size = max(int(response.headers.get(n, 0)) for n in ("Content-Length", "X-Linked-Size"))
    if size > _MOST_BYTES:
        raise UserError(f"the file has {size:,} bytes; no BERT is as large")


def _import(package: str, preset: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise UserError(
            f"preset {preset!r} is on the network and needs the package {package}: "
            f"pip install {package}"
        ) from None


def _download_failed(preset: str, path: str, site: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(
        f"preset {preset!r}: {path} could not be downloaded from {site} "
        f"({reason[:160]}); check the name and the network, or give a local directory"
    )

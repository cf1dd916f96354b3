"""Uploads an export to a model hub: ``hf://owner/name`` or ``kaggle://owner/model/framework/variation``.

It goes through the hub's own library, with a token from the environment alone, which is neither stored
nor shown. A new model is private; its owner can make it public on its page. ``run.json`` is left out: it
names paths of this machine.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError, one_line
from pipelines.records.checksums import CHECKSUMS, check_folder, read_checksums, write_checksums
from pipelines.records.manifest import RUN
from trainer.presets.card import CARD, PLACE

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_HUGGING_FACE = re.compile(f"hf://({_NAME}/{_NAME})")
_KAGGLE = re.compile(f"kaggle://({_NAME}/{_NAME}/([A-Za-z]+)/{_NAME})")
# Whose files Kaggle's frameworks are, by their names in small letters.
_FRAMEWORKS = {"keras": "output", "transformers": "hf_output", "pytorch": "hf_output"}
# The variables that hold a token, any of these sets of them.
_TOKENS = {
    "huggingface_hub": (("HF_TOKEN",),),
    "kagglehub": (("KAGGLE_API_TOKEN",), ("KAGGLE_USERNAME", "KAGGLE_KEY")),
}


@dataclass(frozen=True)
class Destination:
    """``name``: at the hub; ``library``: its package; ``flag``: of the folder that belongs there."""

    address: str
    name: str
    library: str
    flag: str

    @classmethod
    def parse(cls, address: str, folders: Mapping[str, str]) -> Destination:
        """``folders``: those that are exported, by their flags. Raises UserError where none can go
        there, or what that takes is missing."""
        if match := _HUGGING_FACE.fullmatch(address):
            flag = "hf_output" if "hf_output" in folders else "output"
            found = cls(address, match[1], "huggingface_hub", flag)
        elif (match := _KAGGLE.fullmatch(address)) and match[2].lower() in _FRAMEWORKS:
            found = cls(address, match[1], "kagglehub", _FRAMEWORKS[match[2].lower()])
        else:
            raise UserError(
                f"--upload {address}: not hf://owner/name or kaggle://owner/model/framework/variation, "
                f"where the framework is one of {', '.join(_FRAMEWORKS)}"
            )
        if found.flag not in folders:
            raise UserError(f"--upload {address}: takes the files of --{found.flag}; give that too")
        if importlib.util.find_spec(found.library) is None:
            raise UserError(
                f"--upload {address}: needs the package {found.library}: pip install 'bertmill[hub]'"
            )
        if not found._secrets():
            names = " or ".join(" and ".join(group) for group in _TOKENS[found.library])
            raise UserError(
                f"--upload {address}: there is no token; set {names} in the environment"
            )
        return found

    def upload(self, folder: str) -> str:
        """Uploads an export; returns its page. Raises UserError where that fails, or where the export is
        not whole."""
        is_theirs = self.library == "huggingface_hub"
        try:
            with _prepare(folder, self._place()) as prepared:
                return (_to_hugging_face if is_theirs else _to_kaggle)(self.name, prepared)
        except UserError:
            raise
        except Exception as error:  # network, HTTP status, the hub's rules: many unrelated classes
            raise self._explain(error) from None

    def _secrets(self) -> list[str]:
        """The token, or what stands for one; empty where there is none."""
        groups = [[os.environ.get(n, "") for n in group] for group in _TOKENS[self.library]]
        return next((group for group in groups if all(group)), [])

    def _place(self) -> str:
        """What the card has instead of its ``PLACE``."""
        if self.flag == "output":
            return f'place = "{self.address}"'
        if self.library == "huggingface_hub":
            return f'place = "{self.name}"'
        return f'import kagglehub\n\nplace = kagglehub.model_download("{self.name}")'

    def _explain(self, error: Exception) -> UserError:
        reason = one_line(error)[:300] or type(error).__name__
        for secret in self._secrets():
            reason = reason.replace(secret, "…")
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            problem = f"the token in the environment may not write there (HTTP {status})"
        elif (status is None and isinstance(error, OSError)) or _is_of_the_network(error):
            problem = f"the hub cannot be reached ({reason}); check the network"
        else:
            problem = f"the hub refused it ({reason})"
        return UserError(
            f"--upload {self.address}: {problem}; the export is whole, and the same command uploads it"
        )


def _is_of_the_network(error: Exception) -> bool:
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & {"TransportError", "ConnectionError", "Timeout", "OfflineModeIsEnabled"})


@contextmanager
def _prepare(folder: str, place: str) -> Iterator[str]:
    """The folder as it is uploaded, of links to its files. Raises UserError unless it is whole."""
    check_folder(folder)
    sums = read_checksums(folder)
    if sums is None:
        raise UserError(f"--upload: {folder} has no checksums; export it again (--overwrite)")
    with tempfile.TemporaryDirectory() as temporary:
        prepared = os.path.join(temporary, "model")
        leave_out = shutil.ignore_patterns(RUN, CARD, CHECKSUMS, ".*")
        shutil.copytree(
            os.path.abspath(folder), prepared, ignore=leave_out, copy_function=os.symlink
        )
        card = Path(folder, CARD).read_text("utf-8").replace(PLACE, place)
        Path(prepared, CARD).write_text(card, "utf-8")
        sums.pop(RUN, None)
        write_checksums(prepared, (), sums)
        yield prepared


def _to_hugging_face(name: str, folder: str) -> str:
    import huggingface_hub

    api = huggingface_hub.HfApi(token=os.environ["HF_TOKEN"])
    page = api.create_repo(name, private=True, exist_ok=True)
    api.upload_folder(repo_id=name, folder_path=folder, commit_message="Export from bertmill")
    return str(page)


def _to_kaggle(name: str, folder: str) -> str:
    import kagglehub
    from kagglehub.handle import parse_model_handle

    kagglehub.model_upload(name, folder, version_notes="Export from bertmill")
    return str(parse_model_handle(name).to_url())

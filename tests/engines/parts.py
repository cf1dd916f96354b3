"""What the engines are made of: fetched or built once by Go, Maven and pip, and kept in a folder.

The folder is $BERTMILL_ENGINES, else ~/.cache/bertmill-engines. A test whose part is neither there nor
can be made is skipped, and says why.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from apache_beam.version import __version__ as beam_version

_ROOT = Path(__file__).resolve().parents[2]
_CACHE = Path(os.environ.get("BERTMILL_ENGINES") or "~/.cache/bertmill-engines").expanduser()
_BEAM_IN_GO = f"github.com/apache/beam/sdks/v2/{{}}@v{beam_version}"
# The last one for Flink 1.16 and Spark 3.2; it runs workers of later versions too.
_BEAM_IN_JAVA = "2.54.0"
_FLINK = "1.16.3"
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion>
<groupId>bertmill</groupId><artifactId>engine</artifactId><version>1</version>
<dependencies>{}</dependencies></project>
"""
_FLINK_JOB_SERVER = (
    f"org.apache.beam:beam-runners-flink-1.16:{_BEAM_IN_JAVA}",
    "org.slf4j:slf4j-jdk14:1.7.36",
)
_SPARK_JOB_SERVER = (
    f"org.apache.beam:beam-runners-spark-3:{_BEAM_IN_JAVA}",
    f"org.apache.beam:beam-runners-java-job-service:{_BEAM_IN_JAVA}",
    "org.apache.spark:spark-core_2.12:3.2.2",
    "org.apache.spark:spark-streaming_2.12:3.2.2",
)


def prism(*, build: bool) -> Path:
    """Beam's own runner; without ``build`` only if it is there."""
    if not build and not (_CACHE / f"prism-{beam_version}").is_dir():
        pytest.skip("Prism is not built yet: python -m pytest -m long tests/engines builds it")
    return _part(f"prism-{beam_version}", lambda at: _build_go("go/cmd/prism", at)) / "prism"


def boot_program() -> Path:
    """The program that starts Beam's Python workers."""
    made = _part(f"boot-{beam_version}", lambda at: _build_go("python/container", at))
    return made / "container"


def flink_job_server() -> Path:
    """A folder of jars: Beam's job server for Flink, with a Flink in it."""
    return _part("flink-job-server", lambda at: _fetch_jars(_FLINK_JOB_SERVER, at))


def spark_job_server() -> Path:
    """A folder of jars: Beam's job server for Spark, with a Spark in it."""
    return _part("spark-job-server", lambda at: _fetch_jars(_SPARK_JOB_SERVER, at))


def flink() -> Path:
    """A folder of jars: Flink itself."""
    return _part(f"flink-{_FLINK}", _fetch_flink)


def worker_environment() -> Path:
    """A virtual environment with the pinned base install of the source archive of this checkout."""
    lock = _ROOT / "requirements.lock"
    name = f"workers-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    with tempfile.TemporaryDirectory() as folder:
        archive = str(_source_archive(Path(folder)))

        def install(environment: Path, *arguments: str) -> None:
            python = str(environment / "bin" / "python")
            _run(python, "-m", "pip", "install", "--quiet", *arguments, archive)

        def make(environment: Path) -> None:
            _run(sys.executable, "-m", "venv", str(environment))
            install(environment, "--constraint", str(lock))

        environment = _part(name, make)
        with _locked(name):
            # Its version says nothing of what has changed since the last run.
            install(environment, "--no-deps", "--force-reinstall")
            _run(str(environment / "bin" / "python"), "-m", "pip", "check")
    return environment


def _part(name: str, make: Callable[[Path], object]) -> Path:
    """The folder of this name, made now if it is not there; by one process at a time."""
    folder = _CACHE / name
    with _locked(name):
        if folder.is_dir():
            return folder
        shutil.rmtree(made := _CACHE / f"{name}.incomplete", ignore_errors=True)
        made.mkdir()
        make(made)
        made.rename(folder)
    return folder


class _locked:  # noqa: N801 - used like a function
    def __init__(self, name: str) -> None:
        _CACHE.mkdir(parents=True, exist_ok=True)
        self._file = open(_CACHE / f"{name}.lock", "w")  # noqa: SIM115

    def __enter__(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _need(program: str) -> str:
    found = shutil.which(program) or shutil.which(program, path="/usr/local/go/bin")
    if not found:
        pytest.skip(f"{program} is not installed, which the engines of this test need")
    return found


def java() -> str:
    return _need("java")


def _run(*command: str, **options: object) -> None:
    done = subprocess.run(command, capture_output=True, text=True, **options)  # type: ignore
    assert not done.returncode, f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def _build_go(package: str, folder: Path) -> None:
    flags = {"GOBIN": str(folder), "GOFLAGS": "-mod=mod -buildvcs=false", "GOTOOLCHAIN": "local"}
    _run(_need("go"), "install", _BEAM_IN_GO.format(package), env=os.environ | flags)


def _fetch_jars(artifacts: tuple[str, ...], folder: Path) -> None:
    _need("java")
    dependency = "<groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>"
    listed = (
        f"<dependency>{dependency.format(*name.split(':'))}</dependency>" for name in artifacts
    )
    with tempfile.TemporaryDirectory() as project:
        (Path(project) / "pom.xml").write_text(_POM.format("".join(listed)))
        goal = ("dependency:copy-dependencies", "-DincludeScope=runtime")
        _run(_need("mvn"), "-B", "-q", *goal, f"-DoutputDirectory={folder}", cwd=project)


def _fetch_flink(folder: Path) -> None:
    """Flink's jars come with PyPI's source archive of its libraries."""
    with tempfile.TemporaryDirectory() as at:
        download = ("-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:")
        _run(sys.executable, *download, "--dest", at, f"apache-flink-libraries=={_FLINK}")
        with tarfile.open(next(Path(at).glob("*.tar.gz"))) as archive:
            for member in archive:
                name = Path(member.name)
                kept = name.name.startswith(("flink-dist", "log4j", "flink-shaded-zookeeper"))
                if name.parts[1:3] == ("deps", "lib") and kept:
                    member.name = name.name
                    archive.extract(member, folder, filter="data")


def _source_archive(folder: Path) -> Path:
    """Of the tracked files alone, which is what a fresh clone would make."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.toml", "*.md", "LICENSE", "setup.py", "pipelines", "trainer"],
        cwd=_ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(_ROOT / name, folder / name)
    _run(sys.executable, "setup.py", "-q", "sdist", cwd=folder)
    return next((folder / "dist").glob("*.tar.gz"))

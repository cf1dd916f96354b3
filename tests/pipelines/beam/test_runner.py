"""The race in Beam's local runner, made certain, and the guard that ends it; how jobs end elsewhere."""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.portability.prism_runner import PrismRunner
from apache_beam.runners.worker import data_plane

from pipelines.beam import runner
from pipelines.beam.runner import run_pipeline
from pipelines.command.progress import Phase
from pipelines.command.run import RunOptions
from pipelines.errors import UserError
from pipelines.mask.config import MaskStageConfig
from pipelines.plan import Plan
from pipelines.stage import StageRun, run_stage
from pipelines.storage.files import TEMPORARY

_COUNT = 60_000


def test_no_worker_loses_elements(tmp_path, monkeypatch):
    # The timer strikes every 10 ms instead of every second, and emptying a buffer takes a while.
    monkeypatch.setattr(worker_handlers, "DATA_BUFFER_TIME_LIMIT_MS", 10)
    clear = data_plane.ClosableOutputStream._clear

    def slow_clear(self):
        time.sleep(0.002)
        clear(self)

    monkeypatch.setattr(data_plane.ClosableOutputStream, "_clear", slow_clear, raising=False)

    def build(pipeline):
        return (
            pipeline
            | beam.Create(range(8))
            | beam.Reshuffle()
            | beam.FlatMap(lambda part: ((part, number) for number in range(_COUNT // 8)))
            | beam.Map(lambda pair: (pair[1] % 5, pair)).with_output_types(tuple[int, tuple])
            | beam.GroupByKey()
            | beam.Map(lambda pair: (0, len(list(pair[1])))).with_output_types(tuple[int, int])
            | "Total" >> beam.CombinePerKey(sum)
            | beam.Map(lambda total: (tmp_path / "total").write_text(str(total[1])))
        )

    beam_args = ("--direct_running_mode=multi_threading", "--direct_num_workers=2")
    run_pipeline(build, beam_args, progress=lambda _: Phase(""))
    assert int((tmp_path / "total").read_text()) == _COUNT


def test_the_local_runner_fetches_no_other_one(monkeypatch):
    tried = []
    monkeypatch.setattr(PrismRunner, "run_pipeline", lambda *given: tried.append(given))
    run_pipeline(lambda pipeline: pipeline | beam.Create([1]), (), progress=lambda: "")
    assert not tried


@pytest.fixture
def ended(monkeypatch):
    """Makes a job end as Beam tells of it, after a line that was logged."""

    def end(error: Exception) -> None:
        def fail(pipeline):
            logging.getLogger().error("pages of the engine's own")
            raise error

        monkeypatch.setattr(beam.Pipeline, "run", fail)
        run_pipeline(lambda pipeline: pipeline | beam.Create([1]), (), progress=lambda _: Phase(""))

    return end


@pytest.fixture
def _logs_to_screen(capsys):
    handler = logging.StreamHandler(sys.stderr)
    logging.root.addHandler(handler)
    yield
    logging.root.removeHandler(handler)


@pytest.mark.usefixtures("_logs_to_screen")
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            "Pipeline job-1 failed in state FAILED: java.lang.RuntimeException: Error received from SDK "
            "harness: Traceback (most recent call last):\n  File\npipelines.errors.UserError: a.txt:2: "
            "not valid UTF-8 [while running 'Read']\n\tat org.apache",
            "^a.txt:2: not valid UTF-8$",
        ),
        (
            "Pipeline job-1 failed in state FAILED: no slots,\n after 300 s",
            "^the job ended in state FAILED and published no manifest: no slots, after 300 s; see",
        ),
        (
            "Pipeline job-1 failed in state FAILED: Traceback (most recent call last):\n"
            "ModuleNotFoundError: No module named 'pipelines.reshard'",
            "^the workers have another version of bertmill, or none; install this one",
        ),
        (
            "Pipeline job-1 failed in state CANCELLED: ",
            "ended in state CANCELLED .* no reason given",
        ),
    ],
)
def test_what_an_engine_tells_becomes_one_line(capsys, ended, error, message):
    with pytest.raises(UserError, match=message):
        ended(RuntimeError(error))
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("_logs_to_screen")
def test_a_fault_of_ours_shows_all_that_was_said(capsys, ended):
    said = "Pipeline 1 failed in state FAILED: Traceback (most recent call last):\nKeyError: 'a'"
    with pytest.raises(RuntimeError, match="KeyError"):
        ended(RuntimeError(said))
    assert "pages of the engine's own" in capsys.readouterr().err


def test_a_job_whose_workers_wrote_elsewhere_says_so(tmp_path, rows_dir):
    config = MaskStageConfig(input=str(rows_dir), output=str(tmp_path / "out"))
    run = StageRun("mask", config, {})
    with pytest.raises(UserError, match="ended in state DONE and published no manifest in .*/out;"):
        run_stage(run, RunOptions(), reads="", plan=lambda: Plan([]), work=lambda _: None)


def test_after_an_error_only_the_command_itself_speaks(capsys):
    screen = runner._OfThisThread(sys.stderr)
    other = threading.Thread(target=print, args=["a worker's end"], kwargs={"file": screen})
    other.start()
    other.join()
    print("the line", file=screen)
    assert capsys.readouterr().err == "the line\n"


def test_what_a_killed_worker_left_is_deleted(tmp_path, rows_dir):
    output = tmp_path / "out"

    def work(_: object) -> None:
        shutil.copytree(rows_dir, output, dirs_exist_ok=True)
        (output / f"{TEMPORARY}1-train-00000-of-00003.array_record").touch()

    run = StageRun("tokenize", MaskStageConfig(input="a", output=str(output)), {})
    assert run_stage(run, RunOptions(), reads="", plan=lambda: Plan([]), work=work)
    assert not list(output.glob(f"{TEMPORARY}*"))

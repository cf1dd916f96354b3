"""Progress of a pipeline comes from what its workers did, wherever they are."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace

import apache_beam as beam

from pipelines.beam import heartbeat
from pipelines.beam.heartbeat import reading
from pipelines.beam.options import pipeline_options
from pipelines.beam.runner import run_pipeline
from pipelines.beam.tally import read_tally, start_tally, tally
from pipelines.command.progress import Phase


class _Work(beam.DoFn):
    def process(self, element):
        tally(documents=2, text_bytes=element)
        time.sleep(0.05)


def test_lines_tell_what_the_workers_have_done(monkeypatch, capsys):
    monkeypatch.setattr(heartbeat, "_SECONDS_BETWEEN_LINES", 0.02)
    tally(documents=1000)  # of another pipeline

    def build(pipeline):
        _ = pipeline | beam.Create([3_000_000] * 10) | beam.ParDo(_Work())

    run_pipeline(build, (), lambda counted: reading("stage", counted, 40e6))
    lines = capsys.readouterr().err.splitlines()
    found = [
        re.match(r"stage: reading: (\d+) of about 40 MB, [\d.]+ MB/s, .* left, (\d+) doc", x)
        for x in lines
    ]
    numbers = [(int(m[1]), int(m[2])) for m in found if m]
    assert numbers == sorted(numbers)
    assert numbers
    assert all(mb == 3 * documents / 2 <= 30 for mb, documents in numbers)


def test_counts_of_workers_elsewhere_are_asked_for():
    pipeline = beam.Pipeline(options=pipeline_options(()))
    _ = pipeline | beam.Create([5, 6]) | beam.ParDo(_Work())
    result = pipeline.run()
    result.wait_until_finish()
    start_tally()  # as if another process had done it
    assert read_tally(result) == {"documents": 4, "text_bytes": 11}
    tally(documents=7)
    assert read_tally(result) == {"documents": 7}


class _Job:
    """A job at a job server, whose answer Beam keeps."""

    def __init__(self):
        self._metrics, self.asked = None, 0

    def metrics(self):
        self.asked += self._metrics is None
        self._metrics = self._metrics or self
        return self

    def query(self, _):
        name = SimpleNamespace(metric=SimpleNamespace(name="documents"))
        return {"counters": [SimpleNamespace(key=name, attempted=self.asked, committed=None)]}


def test_a_job_server_is_asked_again():
    start_tally()
    job = _Job()
    assert [read_tally(job)["documents"] for _ in range(3)] == [1, 2, 3]


def test_a_rate_is_of_the_time_in_which_there_was_something_to_count(monkeypatch, capsys):
    monkeypatch.setattr(heartbeat, "_SECONDS_BETWEEN_LINES", 0.1)
    phases = [Phase("a", 0), Phase("a", 0), Phase("a", 6, 12, "MB"), Phase("b", 3, 3, "shards")]
    left = iter([*phases, *[phases[-1]] * 9])
    with heartbeat.heartbeat(lambda _: next(left)):
        time.sleep(0.45)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["a: 0 s", "a: 0 s"]
    rates = [float(re.search(r"([\d.]+) \w+/s", line)[1]) for line in lines[2:4]]
    assert 30 < rates[0] <= 60
    assert 15 < rates[1] <= 30


def test_a_runner_that_tells_nothing_is_left_alone():
    start_tally()
    assert read_tally(object()) == {}


def test_what_has_no_end_is_said_without_one():
    assert reading("stage", {"documents": 0, "text_bytes": 0}, 0) == Phase(
        "stage: reading", 0, 0, "MB", ""
    )

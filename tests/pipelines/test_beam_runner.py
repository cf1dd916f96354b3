"""The race in Beam's local runner, made certain instead of rare, and that the guard ends it."""

from __future__ import annotations

import time

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.worker import data_plane

from pipelines.beam_runner import run_pipeline

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
    run_pipeline(build, beam_args, progress=lambda: "")
    assert int((tmp_path / "total").read_text()) == _COUNT

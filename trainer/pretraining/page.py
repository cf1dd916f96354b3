"""The report of a pretraining run as one self-contained HTML page: nothing in it is fetched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from trainer.pretraining.explain_pages import STYLE, document_as_html
from trainer.pretraining.line_chart import Series, draw_chart
from trainer.pretraining.predictions import PredictedRow

# Title of each chart, what it shows under which name, and whether its axis begins at 0.
_CHARTS = (
    ("Loss", {"mean_loss": "training", "validation_loss": "validation"}, False),
    ("Accuracy", {"mean_accuracy": "training", "validation_accuracy": "validation"}, True),
    ("Learning rate", {"learning_rate": ""}, True),
    ("Real tokens a second", {"tokens_per_second": ""}, True),
    ("Share of the time spent waiting for data", {"data_wait": ""}, True),
    ("Share of the devices' best arithmetic (MFU)", {"mfu": ""}, True),
    ("Tera-operations a second", {"tflops": ""}, True),
    ("Length of the gradient", {"gradient_norm": ""}, True),
    (
        "Next sentence: accuracy",
        {
            "next_sentence_accuracy": "training",
            "validation_next_sentence_accuracy": "validation",
        },
        False,
    ),
)
_STYLE = (
    STYLE
    + """
h1 { font-size: 1.4em } h2 { font-size: 1.15em; margin-top: 2.2em } a { color: inherit }
table { border-collapse: collapse; font-size: .9em } td, th { padding: .1em 1em .1em 0;
text-align: left; vertical-align: top } td { border-top: 1px solid #eee; word-break: break-word }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(26em, 1fr)); gap: 1em }
svg { width: 100%; font: 11px system-ui, sans-serif } svg .title { font-size: 13px;
font-weight: 600 } .grid { stroke: #e4e4e4 } .line { fill: none; stroke-width: 1.6 }
pre { background: #f6f6f6; padding: .6em; white-space: pre-wrap }
"""
)


@dataclass(frozen=True)
class ReportedData:
    """A source of rows: where it lay, the SHA-256 of its manifest, and what that says of it."""

    folder: str
    fingerprint: str
    weight: float | None
    rows: int
    validation_rows: int
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """What the page shows: ``lines`` are metrics.jsonl's, ``rows`` are validation rows as predicted
    by the weights after ``done`` of ``steps`` steps, ``config`` is all that was asked for."""

    run: str
    done: int
    steps: int
    summary: Mapping[str, str]
    lines: Sequence[Mapping[str, Any]]
    rows: Sequence[PredictedRow]
    data: Sequence[ReportedData]
    config: Mapping[str, Any]


def as_page(report: Report) -> str:
    """The HTML page."""
    finished = "finished" if report.done >= report.steps else f"after {report.done:,} steps"
    title = f"Pretraining {escape(report.run)}: {finished}"
    parts = [
        f"<h1>{title}</h1>",
        _table([], report.summary.items()),
        f'<h2>Curves, by training step</h2><div class="charts">{_draw_charts(report.lines)}</div>',
        "<h2>Masked text and what the model says</h2>",
        "<p>Green: right; red: wrong, the mouse over it shows the model's guess. Struck out: what "
        "the model saw in its place.</p>",
        *_rows_as_html(report.rows),
        "<h2>Data</h2>",
        _table(
            (
                "folder",
                "rows",
                "validation rows",
                "weight",
                "SHA-256 of its manifest.json",
                "facts",
            ),
            [
                (
                    source.folder,
                    f"{source.rows:,}",
                    f"{source.validation_rows:,}",
                    source.weight or "",
                    source.fingerprint,
                    ", ".join(f"{name}: {_short(value)}" for name, value in source.facts.items()),
                )
                for source in report.data
            ],
        ),
        "<h2>Config</h2>",
        _table([], ((name, _short(value)) for name, value in report.config.items())),
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style>{''.join(parts)}</html>\n"
    )


def _draw_charts(lines: Sequence[Mapping[str, Any]]) -> str:
    charts = []
    known = {name for line in lines for name in line}
    for title, names, zero in _CHARTS:
        if title.startswith("Tera") and "mfu" in known:
            continue
        series = [
            Series(label, [(line["step"], line[name]) for line in lines if name in line])
            for name, label in names.items()
        ]
        charts.append(draw_chart(title, series, zero))
    return "".join(charts)


def _rows_as_html(rows: Sequence[PredictedRow]) -> Iterable[str]:
    for row in rows:
        masks = {mask.position: mask for mask in row.masks}
        right = sum(mask.guess == mask.target for mask in row.masks)
        loss = sum(mask.loss for mask in row.masks) / max(1, len(row.masks))
        yield f"<h2>{right} of {len(masks)} right, loss {loss:.3f}</h2>"
        yield from (f"<p>{document_as_html(document, masks)}</p>" for document in row.documents)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_short(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(_short, value))
    return "" if value is None else str(value)


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table>{f'<tr>{head}</tr>' if head else ''}{body}</table>"

"""The figures of a classifier or a regression, as people read them."""

from __future__ import annotations

_NAMES = {
    "macro_f1": "macro F1",
    "matthews": "Matthews' coefficient",
    "pearson": "Pearson's coefficient",
    "spearman": "Spearman's coefficient",
    "mean_squared_error": "mean squared error",
}


def name_figure(name: str) -> str:
    """What people call it."""
    return _NAMES.get(name, name)


def show_figure(name: str, value: float) -> str:
    """Its value: a share in per cent, a count whole."""
    if name == "examples":
        return f"{value:,.0f}"
    if name == "accuracy":
        return f"{value:.2%}"
    return f"{value:.4f}"

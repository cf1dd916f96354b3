"""Linear models on a classification task, trained in minutes: what a pretrained model has to beat.

``python -m tests.workflows.linear --preset PRESET --train FILES [--validation FILES] …`` takes the
options and configuration files of ``trainer.finetune``, and judges on the same examples.

NB-SVM: a support vector machine on words and pairs of words that occur at least twice, each weighted by
how much more often it occurs in one class (Wang and Manning 2012, "Baselines and Bigrams", with their
interpolation with the mean weight). TF-IDF: logistic regression on the same terms.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array, diags_array
from scipy.special import expit

from pipelines.command.run import RunOptions, run_command
from pipelines.documents.bad_record import BadRecords
from trainer.finetuning.config import FinetuneConfig
from trainer.finetuning.examples import Examples
from trainer.finetuning.scores import score_classes
from trainer.finetuning.training_data import find_sources, prepare_reading, read_data

# The share of each weight's own value in the interpolation, and the cost of errors; the paper's are 0.25
# and 1, a tenth of a point worse on IMDB's held-out reviews.
_OWN_SHARE, _SVM_COST = 0.5, 0.1
_LOGISTIC_COST = 10.0


def linear_scores(
    texts: Sequence[str],
    labels: NDArray[np.int64],
    held_out: Sequence[str],
    held_out_labels: NDArray[np.int64],
) -> dict[str, dict[str, float]]:
    """The figures of each linear model, by its name: learned from ``texts``, judged on ``held_out``."""
    classes = int(max(labels.max(), held_out_labels.max())) + 1
    return {
        name: score_classes(held_out_labels, predict(texts, labels, held_out), classes)
        for name, predict in (("NB-SVM", _nb_svm), ("TF-IDF", _tf_idf))
    }


def score_finetuning(config: FinetuneConfig) -> dict[str, dict[str, float]]:
    """The same on what a run of ``trainer.finetune`` learns from and is judged by, if it has classes."""
    train, validation = read_finetuning(config)
    return linear_scores(texts_of(train), train.labels, texts_of(validation), validation.labels)


def read_finetuning(config: FinetuneConfig) -> tuple[Examples, Examples]:
    """What ``trainer.finetune`` learns from, and what it is judged by."""
    sources = find_sources(config)
    preprocessor, fields = prepare_reading(config, sources)
    bad = BadRecords(drop=config.on_bad_record == "drop")
    return read_data(config, sources, fields, preprocessor, bad)


def texts_of(examples: Examples) -> list[str]:
    """Each example's text, and its second text in a line of its own."""
    assert examples.texts is not None, "raw texts are needed"
    return [f"{example.text}\n{example.pair or ''}" for example in examples.texts]


def _nb_svm(
    texts: Sequence[str], labels: NDArray[np.int64], held_out: Sequence[str]
) -> NDArray[np.int64]:
    terms, unseen = (1 * (counts > 0) for counts in _count_terms(texts, held_out))

    def score(is_class: NDArray[np.bool_]) -> NDArray[np.float64]:
        ratio = diags_array(_log_rates(terms[is_class]) - _log_rates(terms[~is_class]))
        weights, bias = _fit(terms @ ratio, is_class, _squared_hinge, _SVM_COST)
        weights = _OWN_SHARE * weights + (1 - _OWN_SHARE) * np.abs(weights).mean()
        return unseen @ (ratio @ weights) + bias

    return _best_class(labels, score)


def _tf_idf(
    texts: Sequence[str], labels: NDArray[np.int64], held_out: Sequence[str]
) -> NDArray[np.int64]:
    counts, unseen = _count_terms(texts, held_out)
    rarity = 1 + np.log((1 + len(texts)) / (1 + (counts > 0).sum(axis=0)))

    def weigh(counts: Any) -> Any:
        weighted = counts.astype(np.float64)
        weighted.data = 1 + np.log(weighted.data)
        weighted = weighted @ diags_array(rarity)
        lengths = np.sqrt((weighted * weighted).sum(axis=1))
        return diags_array(1 / np.maximum(lengths, 1e-12)) @ weighted

    terms, unseen = weigh(counts), weigh(unseen)

    def score(is_class: NDArray[np.bool_]) -> NDArray[np.float64]:
        weights, bias = _fit(terms, is_class, _logistic, _LOGISTIC_COST)
        return unseen @ weights + bias

    return _best_class(labels, score)


def _count_terms(texts: Sequence[str], held_out: Sequence[str]) -> tuple[Any, Any]:
    """How often each word, mark and pair of these stands in each text; those of two texts or more."""
    found = [[_terms_of(text) for text in side] for side in (texts, held_out)]
    common = Counter(chain.from_iterable(found[0]))
    columns = {term: i for i, term in enumerate(t for t, texts in common.items() if texts > 1)}
    sides = []
    for side in found:
        cells = [[(columns[t], n) for t, n in terms.items() if t in columns] for terms in side]
        ends = np.cumsum([0, *map(len, cells)])
        flat = np.array([*chain.from_iterable(cells)], np.int64).reshape(-1, 2)
        sides.append(csr_array((flat[:, 1], flat[:, 0], ends), (len(side), len(columns))))
    return sides[0], sides[1]


def _terms_of(text: str) -> Counter[str]:
    words = re.findall(r"\w+|[^\w\s]", text.lower())
    return Counter(chain(words, map(" ".join, pairwise(words))))


def _log_rates(terms: Any) -> NDArray[np.float64]:
    """The log of each term's share of all occurrences, each counted once more."""
    counts = terms.sum(axis=0) + 1
    return np.log(counts / counts.sum())


def _best_class(
    labels: NDArray[np.int64], score: Callable[[NDArray[np.bool_]], NDArray[np.float64]]
) -> NDArray[np.int64]:
    """The class with the highest score against all others."""
    classes = np.unique(labels)
    if len(classes) == 2:
        return classes[(score(labels == classes[1]) > 0).astype(np.int64)]
    return classes[np.argmax([score(labels == one) for one in classes], axis=0)]


Loss = Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]


def _squared_hinge(margins: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    slack = np.maximum(0, 1 - margins)
    return slack**2, -2 * slack


def _logistic(margins: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.logaddexp(0, -margins), -expit(-margins)


def _fit(
    terms: Any, is_class: NDArray[np.bool_], loss: Loss, cost: float
) -> tuple[NDArray[np.float64], float]:
    """Weights and bias of a linear model, with squared weights added to the cost of its losses."""
    signs, back = np.where(is_class, 1.0, -1.0), terms.T.tocsr()

    def objective(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        losses, slopes = loss(signs * (terms @ point[:-1] + point[-1]))
        pull = cost * signs * slopes
        gradient = point + np.append(back @ pull, pull.sum())
        return float(point @ point / 2 + cost * losses.sum()), gradient

    start = np.zeros(terms.shape[1] + 1)
    point = minimize(objective, start, jac=True, method="L-BFGS-B").x
    return point[:-1], float(point[-1])


def _main(config: FinetuneConfig, options: RunOptions) -> None:
    for name, scores in score_finetuning(config).items():
        print(name, *(f"{figure} {value:.4f}" for figure, value in scores.items()), sep="  ")


if __name__ == "__main__":
    run_command(FinetuneConfig, _main, stage="finetune", module="tests.workflows.linear")

"""The stages in the order of the road from text to predictions, each with what it is for."""

from __future__ import annotations

# Name on the command line: module, what it does.
STAGES = {
    "vocab": ("pipelines.vocab", "learn a WordPiece vocabulary from documents"),
    "tokenize": ("pipelines.tokenize", "turn documents into packed rows of token ids"),
    "reshard": ("pipelines.reshard", "put rows into other shards or another format"),
    "mask": ("pipelines.mask", "mask rows beforehand (optional: training masks on the fly)"),
    "pretrain": ("trainer.pretrain", "train a BERT on rows, and resume where it was killed"),
    "export": ("trainer.export", "make presets for KerasHub and Transformers of a run"),
    "finetune": (
        "trainer.finetune",
        "fine-tune a preset to classify texts or to give them numbers",
    ),
    "evaluate": ("trainer.evaluate", "measure a fine-tuned preset on labelled texts"),
    "predict": ("trainer.predict", "label texts with a fine-tuned preset"),
    "inspect": ("pipelines.inspect", "show and verify an output, or see a tokenizer at work"),
    "explain": ("trainer.explain", "show what a step of pretraining saw, and its loss again"),
    "report": ("trainer.report", "draw the curves and predictions of a run on a page"),
}
DOCTOR = "doctor"
_DOCTOR_TEXT = "say what is installed and missing, and which devices there are"


def list_stages() -> str:
    """The help of ``bertmill``: how it is used, and a line for each stage."""
    width = max(map(len, STAGES))
    texts = {name: text for name, (_, text) in STAGES.items()} | {DOCTOR: _DOCTOR_TEXT}
    lines = [f"  {name:{width}}  {text}" for name, text in texts.items()]
    return "\n".join(
        [
            "usage: bertmill STAGE [options]",
            "",
            "From raw text to a BERT preset. The stages, in the order of the road:",
            "",
            *lines,
            "",
            "bertmill STAGE --help shows the options of a stage. bertmill vocab is the same as",
            "python -m pipelines.vocab, and so on.",
        ]
    )

"""BERT models, their tokenizer and preprocessors, with KerasNLP's names and signatures.

Made by ``from_preset`` or from their arguments:
    BertBackbone                    token ids -> a vector for each token and one for the row
    BertTextClassifier              texts -> a score for each class (BertClassifier)
    BertMaskedLM                    texts with masks -> scores of the words behind them
    PretrainingModel                the loss that pretraining minimises
    BertTokenizer                   texts -> token ids, and back
    BertTextClassifierPreprocessor  texts or pairs -> a classifier's inputs (BertPreprocessor)
    BertMaskedLMPreprocessor        texts -> masked inputs and what stood behind the masks

Their base classes, whose ``from_preset`` finds out what a preset holds: Backbone, Task,
TextClassifier (Classifier), MaskedLM, Preprocessor, TextClassifierPreprocessor,
MaskedLMPreprocessor, Tokenizer. Each one's help begins with its arguments.
"""

from pipelines.lazy_exports import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Backbone": "trainer.models.bert_backbone",
        "BertBackbone": "trainer.models.bert_backbone",
        "BertClassifier": "trainer.models.bert_text_classifier",
        "BertMaskedLM": "trainer.models.bert_masked_lm",
        "BertMaskedLMPreprocessor": "trainer.models.bert_masked_lm_preprocessor",
        "BertPreprocessor": "trainer.models.bert_text_classifier_preprocessor",
        "BertTextClassifier": "trainer.models.bert_text_classifier",
        "BertTextClassifierPreprocessor": "trainer.models.bert_text_classifier_preprocessor",
        "BertTokenizer": "trainer.tokenizers.bert_tokenizer",
        "Classifier": "trainer.models.bert_text_classifier",
        "MaskedLM": "trainer.models.bert_masked_lm",
        "MaskedLMPreprocessor": "trainer.models.bert_masked_lm_preprocessor",
        "Preprocessor": "trainer.models.preprocessor",
        "PretrainingModel": "trainer.models.pretraining_model",
        "Task": "trainer.models.task",
        "TextClassifier": "trainer.models.bert_text_classifier",
        "TextClassifierPreprocessor": "trainer.models.bert_text_classifier_preprocessor",
        "Tokenizer": "trainer.tokenizers.tokenizer",
    },
)

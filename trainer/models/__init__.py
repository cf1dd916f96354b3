"""BERT models, their tokenizer and preprocessors, with KerasNLP's names and signatures."""

from pipelines.lazy_exports import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Backbone": "trainer.models.backbone",
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

"""Tokenizers with KerasNLP's names and signatures."""

from pipelines.lazy_exports import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "BertTokenizer": "trainer.tokenizers.bert_tokenizer",
        "Tokenizer": "trainer.tokenizers.tokenizer",
        "compute_word_piece_vocabulary": "trainer.tokenizers.word_piece_vocabulary",
        "WordPieceTokenizer": "trainer.tokenizers.word_piece_tokenizer",
    },
)

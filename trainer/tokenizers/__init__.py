"""Tokenizers with KerasNLP's names and signatures.

BertTokenizer                  BERT's: texts -> ids, and back; with ``from_preset``
WordPieceTokenizer             WordPiece over any vocabulary and splitting
compute_word_piece_vocabulary  texts -> a vocabulary
Tokenizer                      the base class
"""

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

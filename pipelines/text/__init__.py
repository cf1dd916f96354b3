"""Text as BERT sees it: characters, normalisation, words, vocabularies, and plain WordPiece."""

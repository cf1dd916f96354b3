"""Stage ``vocab``: a corpus to a WordPiece vocabulary."""

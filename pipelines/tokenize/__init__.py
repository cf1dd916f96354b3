"""Stage ``tokenize``: a corpus to shards of packed rows of token ids."""

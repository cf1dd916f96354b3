"""Stage ``mask``: shards of rows to shards of masked examples."""

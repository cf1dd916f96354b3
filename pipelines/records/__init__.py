"""Rows on disk: ragged tables, their two codecs, shards, and the manifest of an output."""

"""Input files: opened, split into documents or labelled texts, and filtered."""

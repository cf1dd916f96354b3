"""The quickstart's corpus and task, from the docstrings of installed packages."""

"""``python -m pipelines``: the same as ``bertmill``."""

from pipelines.command.bertmill import main

if __name__ == "__main__":
    main()

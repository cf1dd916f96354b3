"""Rewrites golden.json and help/ from what the code makes now: ``python -m tests.golden``.

Only after a change that is meant to change bytes, tables, losses or help texts.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.golden.stages import set_environment


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--into", type=Path, default=Path(__file__).parent, help="another folder")
    into = parser.parse_args().into
    set_environment()
    from tests.golden.corpus import write_corpus
    from tests.golden.measure import write_golden

    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        write_corpus(corpus)
        write_golden(corpus, Path(folder) / "work", into)


if __name__ == "__main__":
    main()

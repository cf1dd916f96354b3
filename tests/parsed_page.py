"""Pages that the commands write, read as a browser would."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_VOID = {"meta", "br"}


class Parsed(HTMLParser):
    """The tags of a page with their attributes, and its text; every tag must be closed."""

    def __init__(self, page: str):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(page)
        assert self.open == [], "not closed"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def assert_fetches_nothing(page: str) -> None:
    parsed = Parsed(page)
    assert not any({"src", "action", "data"} & set(attributes) for _, attributes in parsed.tags)
    assert not re.search(r"url\(|@import|https?://", page)

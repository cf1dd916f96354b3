"""Bytes that are nearly right: cut, flipped, doubled, or with something in them that readers trip over.

Every draw comes from the generator that is passed on, so that an input can be made again.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

# What has a meaning in one of the formats, or is no text at all.
_PIECES = (
    *(
        b"\0",
        b"\xff",
        b"\x80",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\xe2\x80\xa8",
        b"\xc2\x85",
    ),
    *(
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\t",
        b" ",
        b",",
        b'"',
        b"'",
        b":",
        b"#",
        b"&a *a",
        b"!!python/",
    ),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b"{}",
        b"[]",
        b'{"text": ',
        b"[" * 3000,
        b'{"a":' * 3000,
        b"null",
        b"true",
    ),
    *(
        b"0",
        b"-1",
        b"1e999",
        b"NaN",
        b"-Infinity",
        b"9" * 400,
        b"4294967296",
        b"9223372036854775808",
    ),
    *(
        b"\\ud800",
        b"\\u0000",
        b"\x1b[2J\x1b]0;x\x07",
        b"../",
        b"/etc/passwd",
        b"~",
        b"${HOME}",
        b"%s%n",
    ),
    *(
        b'<doc id="1">\n',
        b"</doc>\n",
        b"[MASK]",
        b"[UNK]",
        b"##",
        b"\xe4\xbd\xa0",
        b"e\xcc\x81",
        b"a" * 5000,
    ),
    *(b"\x1f\x8b\x08", b"PK\x03\x04", b"PAR1", b"BZh9", b"\x28\xb5\x2f\xfd", b"\x89HDF\r\n\x1a\n"),
)
_NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0xFFFF,
    0x7FFFFFFF,
    0xFFFFFFFF,
    0x7FFFFFFFFFFFFFFF,
    (1 << 64) - 1,
)


def mutate_bytes(content: bytes, draw: Random) -> bytes:
    """The content after one change or several."""
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        content = draw.choice(_CHANGES)(content, draw)
    return content


def _span(content: bytes, draw: Random) -> tuple[int, int]:
    """Where a part begins and ends; most parts are short."""
    start = draw.randint(0, len(content))
    longest = draw.choice((1, 4, 64, len(content)))
    return start, min(len(content), start + draw.randint(0, longest))


def _flip(content: bytes, draw: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 4, 32)) if content else 0):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _insert(content: bytes, draw: Random) -> bytes:
    at, end = _span(content, draw)
    return content[:at] + draw.choice(_PIECES) + content[draw.choice((at, end)) :]


def _cut(content: bytes, draw: Random) -> bytes:
    start, end = _span(content, draw)
    return content[:start] + content[end:]


def _end_early(content: bytes, draw: Random) -> bytes:
    return content[: draw.randint(0, len(content))]


def _double(content: bytes, draw: Random) -> bytes:
    start, end = _span(content, draw)
    return content[:end] + content[start:end] * draw.choice((1, 1, 3, 50)) + content[end:]


def _exchange(content: bytes, draw: Random) -> bytes:
    a, b, c, d = sorted((*_span(content, draw), *_span(content, draw)))
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def _number(content: bytes, draw: Random) -> bytes:
    """A number of 1 to 8 bytes, of the kind that lengths and offsets are."""
    size = draw.choice((1, 2, 4, 8))
    number = draw.choice(_NUMBERS) & ((1 << 8 * size) - 1)
    at = draw.randint(0, max(0, len(content) - size))
    return (
        content[:at] + number.to_bytes(size, draw.choice(("little", "big"))) + content[at + size :]
    )


def _noise(content: bytes, draw: Random) -> bytes:
    start, end = _span(content, draw)
    return content[:start] + draw.randbytes(end - start) + content[end:]


_CHANGES: tuple[Callable[[bytes, Random], bytes], ...] = (
    *(_flip, _insert, _insert, _cut, _end_early, _double, _exchange, _number, _noise),
)

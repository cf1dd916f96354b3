"""A small corpus that is always the same: invented sentences, and strings that are easy to get wrong."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from pathlib import Path

_DOCUMENTS = 300
_EXAMPLES = 60
_STEMS = 400
_SYLLABLES = "ka lo mi tu re so ven dar quil ost ene pra shi bu gort ly fa zem ti on".split()
_ENDS = (".", ".", ".", "!", "?", '."', ".)")
_LABELS = ("negative", "neutral", "positive")
_HARD = (
    "Die Größe der Straße über dem Fluß. Äpfel, Öl und Übermut! ẞ gegen SS?",
    "빠른 갈색 여우가 게으른 개를 뛰어넘는다. 한국어 문장은 띄어쓰기가 있다.",
    "敏捷的棕色狐狸跳过懒狗。中文没有空格！这是第三句吗？𠀀是扩展字。",
    "素早い茶色の狐は怠け者の犬を飛び越える。カタカナもひらがなもある。ﾊﾝｶｸ。",
    "Ο ΟΔΥΣΣΕΥΣ γύρισε. ὁ λόγος τοῦ ἀνθρώπου· ΣΑΣ.",
    "A smile 😀, a family 👨‍👩‍👧‍👦 and a flag 🇩🇪. Fine 👍🏽!",
    "Cafe\u0301 and cafe\u0301s, n\u0303ame, a\u0328\u0301 stack, Zu\u0308rich. İstanbul ve ısı.",
    "A control\u0007character, a soft\u00adhyphen, a zero\u200bwidth and a\u00a0no-break space.",
    "A line\u2028separator, a\u0085next line\tand a tab. \ufffd Replaced.",
    "Before " + "x" * 150 + " after the long word. " + "ab" * 75 + ".",
    "Prices: $1,299.99 (-5 %)... e-mail@example.org/path?x=1&y=[2]; done--or not?",
    "[CLS] is no [MASK] here, [SEP] neither. [UNK] ##ing ##.",
    "Привет, мир! Ёлка. שלום עולם. مرحبا بالعالم؟ नमस्ते दुनिया।",
    "word",
    "",
)


def write_corpus(folder: Path) -> None:
    """Writes documents-0.jsonl, documents-1.jsonl.gz, labelled.jsonl and labelled.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = documents()
    for part, name in enumerate(("documents-0.jsonl", "documents-1.jsonl.gz")):
        content = _jsonl([{"text": text, "number": i} for i, text in enumerate(texts[part::2])])
        (folder / name).write_bytes(gzip.compress(content, mtime=0) if part else content)
    examples = labelled()
    (folder / "labelled.jsonl").write_bytes(_jsonl(examples))
    with open(folder / "labelled.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ("text", "pair", "label"), lineterminator="\n")
        writer.writeheader()
        writer.writerows(examples)


def documents() -> list[str]:
    """The documents: most of some sentences, then the hard ones, then three a second time."""
    made = [
        " ".join(_sentence(f"{i}/{j}") for j in range(1 + _draw(f"length {i}", 1 << 20) % 12))
        for i in range(_DOCUMENTS)
    ]
    return [*made, *_HARD, *made[:2], _HARD[0]]


def labelled() -> list[dict[str, str]]:
    """Examples of the fields text, pair and label; all strings, as a csv file has them."""
    first = [_sentence(f"first {i}") for i in range(_EXAMPLES)]
    # Two have hard texts. Tables cannot hold every character within a line, jsonl files can.
    first[:2] = _HARD[:2]
    return [
        {
            "text": text,
            "pair": " ".join(_sentence(f"pair {i}/{j}") for j in range(1 + i % 3)),
            "label": _LABELS[_draw(f"label {i}", len(_LABELS))],
        }
        for i, text in enumerate(first)
    ]


def _sentence(name: str) -> str:
    words = [_word(f"{name}/{i}") for i in range(3 + _draw(f"words {name}", 15))]
    words[0] = words[0].capitalize()
    if len(words) > 9:
        words[5] += ","
    return " ".join(words) + _ENDS[_draw(f"end {name}", len(_ENDS))]


def _word(name: str) -> str:
    """A word, of which few are frequent and many rare."""
    stem = _draw(f"stem {name}", 1 + _draw(f"range {name}", _STEMS))
    count = 1 + _draw(f"syllables {stem}", 3)
    parts = [_SYLLABLES[_draw(f"syllable {stem}/{i}", len(_SYLLABLES))] for i in range(count)]
    return "".join(parts) + ("", "", "", "s", "ing", "é")[_draw(f"suffix {name}", 6)]


def _draw(name: str, bound: int) -> int:
    """An integer in [0, bound) that follows from the name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % bound


def _jsonl(records: list[dict]) -> bytes:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode()

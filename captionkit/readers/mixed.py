"""Text in which tags and whole sentences stand side by side, told apart."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from captionkit.prose.sentences import split_sentences
from captionkit.record import Prose, Tag, parse_tags
from captionkit.wildcards import split_tags

# An end mark with the quotes and brackets that close behind it, before a comma, a space or the end.
_END = re.compile(r"""[.!?]+(["'”\u2019)\]]*)(?=[,\s]|$)""")
# An end mark behind a word, not behind `mr` or a number.
_MARK = re.compile(r"(?:(?<=[^\W\d_]{3})|(?<=\)))[.!?]\s+")
# What may stand before a sentence's first word: a dash or number of a list, quotes and brackets.
_LEAD = re.compile(r"""\s*(?:-\s+|\d{1,2}[.)]\s+)?["'“\u2018(\[]*""")
_FUNCTION_WORDS = {
    *("a", "an", "the", "this", "that", "these", "those", "there", "it", "its", "he", "she"),
    *("they", "we", "you", "his", "her", "their", "is", "are", "was", "were", "be", "been", "has"),
    *("have", "with", "of", "in", "on", "at", "to", "from", "for", "and", "or", "as", "by"),
    *("while", "no", "not", "into", "near", "behind", "beside", "below", "above", "over", "under"),
    *("between", "which", "who", "whose", "some", "one", "two", "three", "both", "another", "each"),
}
# Words that begin a sentence, and hardly ever stand behind a comma inside one with a capital.
_OPENERS = _FUNCTION_WORDS | {
    *("four", "five", "six", "seven", "eight", "nine", "ten", "several", "many", "other", "all"),
    *("most", "various", "around", "beneath", "beyond", "across", "along", "inside", "outside"),
    *("within", "toward", "towards", "besides", "further", "next", "following", "moving"),
    *("adjacent", "also", "additionally", "overall", "lastly", "finally", "then", "despite"),
    *("possibly", "perhaps", "if", "when", "where", "although", "though", "but", "however"),
}
# A caption in small letters: `a cat is sitting on a mat, licking its paw.`
_SMALL = re.compile(
    r"(?:an?|the|this|there|two|three)\s[^,(]*?\s(?:is|are|was|were|has|have|[a-z]{2,}ing)\s[^,(]*(?:,|$)"
)
_SMALL_WORDS, _SMALL_COMMAS = 5, 3

# So far is looked from an end mark: in beginnings and characters back, in characters ahead. Keeps the time
# per end bounded; the longest sentence of the 2,590 real captions, a loop, has 1,665 characters.
_MOST_BEGINNINGS, _LONGEST, _NEAR = 32, 3000, 80


class _Beginning(NamedTuple):
    """A place at which a sentence may begin, and how much speaks for it."""

    place: int
    weight: int


def parse_caption(text: str) -> tuple[tuple[Tag, ...], tuple[Prose, ...]]:
    """The tags and the sentences of a text; the sentences of one line are one caption.

    Every comma parts two tags, but not inside a sentence. A sentence begins the line, or follows a comma or
    another sentence. It begins with a capital letter and ends in `.`, `!` or `?` before a comma, a space or
    the end of the line; it has three words or more, one of them a word such as `the`, `is` or `with`; behind
    another sentence, two words are enough. In small letters it begins with an article, and has five words or
    more and a verb (`is`, `has`, `sitting`) before its first comma. What has no end mark is a tag.

    >>> tags, prose = parse_caption("1girl, solo, A cat sits on a mat, licking its paw. rain, mr. x, hello!")
    >>> [tag.name for tag in tags], [piece.text for piece in prose]
    (['1girl', 'solo', 'rain', 'mr. x', 'hello!'], ['A cat sits on a mat, licking its paw.'])
    """
    tags: list[Tag] = []
    prose: list[Prose] = []
    for line in text.splitlines():
        sentences: list[str] = []
        for is_sentence, part in _parts(line):
            if is_sentence:
                sentences.append(part)
            else:
                tags += parse_tags(part)
        if sentences:
            prose.append(Prose(" ".join(sentences)))
    return tuple(tags), tuple(prose)


def _parts(line: str) -> Iterator[tuple[bool, str]]:
    """The line in parts, each with whether it is a sentence."""
    at = 0
    behind: _Beginning | None = None  # Behind a sentence, where no comma parts them.
    beginnings: list[_Beginning] | None = None
    for end in _END.finditer(line):
        if beginnings is None:
            beginnings = _beginnings(line)
        start = _start(line, at, end.end(), beginnings, behind)
        if start is not None and _is_end(line, start, end):
            # A full stop that ended the tags is none of the last tag's: `solo, smile. The girl ...`.
            tags = line[at:start].rstrip()
            yield False, tags.removesuffix(".") if start > at else tags
            yield True, line[start : end.end()].strip()
            at = end.end()
            rest = line[at : at + _NEAR].partition(",")[0]
            behind = _beginning(at + len(rest) - len(rest.lstrip()), rest)
    yield False, line[at:]


def _beginnings(line: str) -> list[_Beginning]:
    """The beginning of the line and the places behind commas, so far as a sentence may begin there.

    So it may behind an end mark: `solo, smile. The girl ...`.
    """
    found: list[_Beginning] = []
    place = 0
    for piece in split_tags(line):
        beginning = _beginning(place, piece)
        if beginning is not None:
            found.append(beginning)
        for mark in _MARK.finditer(piece):
            inner = _beginning(place + mark.end(), piece[mark.end() : mark.end() + _NEAR])
            if inner is not None and inner.weight > 0:
                found.append(inner)
        place += len(piece) + 1
    return found


def _beginning(place: int, piece: str) -> _Beginning | None:
    bare = piece[_LEAD.match(piece).end() :]  # type: ignore[union-attr]  # It matches nothing as well.
    words = bare.split()
    if not words:
        return None
    if not words[0][0].isupper():
        small = len(words) >= _SMALL_WORDS and _SMALL.match(bare) is not None
        return _Beginning(place, -1) if small else None
    opens = words[0].lower() in _OPENERS
    return _Beginning(place, 2 if opens else 1 if len(words) >= 3 else 0)


def _start(
    line: str, at: int, end: int, beginnings: list[_Beginning], behind: _Beginning | None
) -> int | None:
    """Where the sentence that would end at `end` begins, None where there is none."""
    first, last = (bisect_left(beginnings, (place,)) for place in (at, end))
    possible = beginnings[max(first, last - _MOST_BEGINNINGS) : last]
    possible = possible if behind is None else [behind, *possible]
    if not possible:
        return None
    # The last that an opening word speaks for: what stands before it are tags with capitals. Else the first:
    # a list of capitalised things may open a sentence.
    begin = max(possible, key=lambda one: (one.weight, one.place if one.weight > 0 else -one.place))
    start = begin.place
    if end - start > _LONGEST:
        return None
    num_commas = line.count(",", start, end)
    if begin.weight < 0:
        return start if num_commas <= _SMALL_COMMAS else None
    # Behind a comma inside a sentence a capital is a name's; many of them are tags that begin with capitals.
    num_capitals = sum(one.place > start and one.weight >= 0 for one in possible)
    if 2 * num_capitals > num_commas:
        return None
    words = [word.strip(",.!?\"'()").lower() for word in line[start:end].split()]
    if begin == behind:
        return start if len(words) >= 2 else None
    return start if len(words) >= 3 and not _FUNCTION_WORDS.isdisjoint(words) else None


def _is_end(line: str, start: int, end: re.Match[str]) -> bool:
    """Whether a sentence ends here: not behind an abbreviation, nor in a quotation with more behind it."""
    rest = line[end.end() : end.end() + _NEAR].lstrip()
    if not rest:
        return True
    small = rest[0] == "," or rest[0].islower()
    if small and end[1]:
        return False
    # Tags may follow in small letters, so it is judged with a capital, or with a number for a comma.
    sentence, behind = line[start : end.end()], "7" if rest[0] == "," else rest[0].upper() + rest[1:]
    return len(split_sentences(f"{sentence} {behind}")) > len(split_sentences(sentence))

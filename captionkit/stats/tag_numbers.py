"""What a scan wants to know of a tag, found out once: a number for each, and sets of numbers."""

from __future__ import annotations

from captionkit.flip import FlipRule
from captionkit.mirror import NAMES
from captionkit.patterns import compile_patterns
from captionkit.pipeline import CaptionPipeline
from captionkit.prose.sides import swap_tag_sides, without_twin
from captionkit.record import fold
from captionkit.stats import oddities
from captionkit.stats.mentions import graphs


class TagNumbers:
    """A number for each name and category of a tag, and what is known about it.

    The first spelling of a name stands for all of them: its number is that of the folded name, the others are
    in `respelled`. Sets of small numbers are two to three times as fast as sets of names.
    """

    def __init__(self, pipeline: CaptionPipeline) -> None:
        self._graphs, self._flip = graphs(pipeline), pipeline.flip
        self.of_category = _Categories(self)
        """`of_category[category][name]` is the number of a spelling; one that is not there is learned."""
        self.spelled: list[tuple[str, str | None]] = []
        """Name and category of each number."""
        self._unmet: set[int] = set()
        """Numbers of tags that others imply and that were not met yet."""
        self.folded: list[str] = []
        self._numbers: dict[str, int] = {}
        """The number of each folded name."""
        self.first: dict[int, int] = {}
        """For the second and every later spelling of a name the number of the first."""
        self.implied: dict[int, frozenset[int]] = {}
        self.kinds: dict[int, tuple[str, ...]] = {}
        """What is odd about a tag on a picture that may be mirrored."""
        # The keys of these three, as sets: only among sets the smaller one is gone through.
        self.respelled: set[int] = set()
        self.implying: set[int] = set()
        self.odd: set[int] = set()
        self.suspicious: set[int] = set()
        """Tags for which the flip rule has to be asked: no other forbids mirroring."""

    def learn(self, name: str, category: str | None) -> int:
        """Give a spelling its number."""
        folded = fold(name)
        number = self._of_folded(folded)
        if number in self._unmet:
            self._unmet.remove(number)
            self.spelled[number] = name, category
            self._find_out(number, name, category)
            return number
        again = self._new(folded)
        self._unmet.remove(again)
        self.spelled[again] = name, category
        self.first[again] = number
        self.respelled.add(again)
        self._find_out(number, name, category)
        return again

    def _of_folded(self, folded: str) -> int:
        number = self._numbers.get(folded)
        if number is None:
            number = self._numbers[folded] = self._new(folded)
        return number

    def _new(self, folded: str) -> int:
        number = len(self.folded)
        self.spelled.append((folded, None))
        self.folded.append(folded)
        self._unmet.add(number)
        return number

    def _find_out(self, number: int, name: str, category: str | None) -> None:
        folded = self.folded[number]
        implied = frozenset[str]().union(*(graph.implied_by(folded) for graph in self._graphs))
        if implied and number not in self.implied:
            self.implied[number] = frozenset(map(self._of_folded, implied))
            self.implying.add(number)
        if _may_forbid(self._flip, name):
            self.suspicious.add(number)
        if kinds := tuple(_odd(self._flip, name, category)):
            self.kinds[number] = kinds
            self.odd.add(number)


class _Categories(dict[str | None, "_Names"]):
    """The names of each category."""

    def __init__(self, tags: TagNumbers) -> None:
        super().__init__()
        self._tags = tags

    def __missing__(self, category: str | None) -> _Names:
        names = self[category] = _Names(self._tags, category)
        return names


class _Names(dict[str, int]):
    """The number of each name of one category."""

    def __init__(self, tags: TagNumbers, category: str | None) -> None:
        super().__init__()
        self._tags, self._category = tags, category

    def __missing__(self, name: str) -> int:
        number = self[name] = self._tags.learn(name, self._category)
        return number


def _may_forbid(flip: FlipRule, name: str) -> bool:
    """Whether the rule might forbid mirroring for the sake of this tag."""
    if flip.no_flip and compile_patterns(flip.no_flip).match(name):
        return True
    return flip.mirror != "keep" and without_twin(fold(name)) is not None


def _odd(flip: FlipRule, name: str, category: str | None) -> list[str]:
    """The kinds of what is odd about a tag on a picture that may be mirrored."""
    if category in NAMES:
        return []
    kinds = [oddities.WRITING_TAGS] if compile_patterns(oddities.WRITING).match(name) else []
    if flip.mirror == "keep" and swap_tag_sides(name) != name:
        kinds.append(oddities.SIDE_TAGS)
    return kinds

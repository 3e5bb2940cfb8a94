"""What is odd about the names of tags, and about records as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from captionkit.pipeline import CaptionPipeline
from captionkit.policies.keep_fixed import KeepFixed
from captionkit.policies.split_tags import SplitTags
from captionkit.policies.wildcards import Wildcards
from captionkit.record import Record, fold
from captionkit.render import KEEP_SEPARATOR
from captionkit.stats import oddities
from captionkit.stats.chosen import id_hash
from captionkit.stats.examples import NUM_EXAMPLES, Examples
from captionkit.stats.lengths import CHUNK
from captionkit.stats.mentions import policies
from captionkit.stats.renames import Renames
from captionkit.stats.result import Oddity, Share
from captionkit.stats.scan import Scan
from captionkit.wildcards import parse_wildcards


def record_oddities(scan: Scan, chosen: Sequence[Record]) -> Iterator[Oddity]:
    """What the scan noted about records, captions and tags."""
    of = dict.fromkeys(oddities.OF_RECORDS, scan.num_records)
    of |= {kind: scan.num_texts() for kind in oddities.OF_CAPTIONS}
    for kind, examples in scan.odd.items():
        yield Oddity(kind, Share(examples.count, of[kind], exact=True), tuple(examples.names))
    for kind, tags in scan.odd_tags.items():
        yield _of_tags(kind, tags, scan)
    yield _same_ids(scan, chosen)


def name_oddities(pipeline: CaptionPipeline, scan: Scan) -> Iterator[Oddity]:
    """What the names themselves show."""
    found: dict[str, Counter[str]] = {}
    judge, renames = _Judge(pipeline), Renames(pipeline)
    spelled: dict[str, Counter[str]] = {}
    for (name, _), number in scan.spellings.items():
        for kind in judge.kinds(name):
            found.setdefault(kind, Counter())[name] += number
        text = pipeline.text.spell(renames.written(name))
        spelled.setdefault(fold(name), Counter())[text] += number
    for texts in spelled.values():
        common, *others = sorted(texts, key=lambda text: (-texts[text], text))
        for text in others:
            alike = text.replace("_", " ") == common.replace("_", " ")
            kind = oddities.UNDERSCORES if alike else oddities.TWINS
            found.setdefault(kind, Counter())[f"{text} / {common}"] += texts[text]
    return (_of_tags(kind, names, scan) for kind, names in found.items())


class _Judge:
    """What is odd about one name, for the recipe at hand."""

    def __init__(self, pipeline: CaptionPipeline) -> None:
        kinds = [policy for _, policy in policies(pipeline)]
        cut = {policy.separator for policy in kinds if isinstance(policy, KeepFixed | SplitTags)}
        usual = (KEEP_SEPARATOR, ";;;", pipeline.text.tag_separator.strip(), "\n", "\t")
        self._separators = [one for one in usual if one and one not in cut]
        self._chooses = any(isinstance(policy, Wildcards) for policy in kinds)
        self._count, self._spell = pipeline.counter, pipeline.text.spell

    def kinds(self, name: str) -> Iterator[str]:
        """The kinds of oddity that a name is."""
        if "\\" in name and ("\\(" in name or "\\)" in name):
            yield oddities.ESCAPED
        if not name.isprintable() and oddities.unreadable(name):
            yield oddities.CONTROL_NAME
        if any(one in name for one in self._separators):
            yield oddities.SEPARATOR
        if "|" in name and not self._chooses and "{" in name and parse_wildcards(name) != (name,):
            yield oddities.CHOICE
        if len(name) > CHUNK and self._count(self._spell(name)) > CHUNK:
            yield oddities.LONG
        elif oddities.sentence(name):
            yield oddities.SENTENCE
        if fold(name) in oddities.NO_TAGS:
            yield oddities.NO_TAG


def _of_tags(kind: str, tags: Counter[str], scan: Scan) -> Oddity:
    most = sorted(tags.items(), key=lambda item: (-item[1], item[0]))[:NUM_EXAMPLES]
    share = Share(tags.total(), scan.spellings.total(), exact=True)
    return Oddity(kind, share, tuple(name for name, _ in most))


def _same_ids(scan: Scan, chosen: Sequence[Record]) -> Oddity:
    """Records whose id another has; the examples are among those chosen."""
    count, before = 0, None
    again: set[int] = set()
    for part in range(_PARTS):  # A part at a time: sorted all at once they would take ten times their memory.
        for hashed in sorted([one for one in scan.hashes if one % _PARTS == part]):
            if hashed == before:
                count += 1
                again.add(hashed)
            before = hashed
    examples = Examples()
    for record in chosen:
        if again and id_hash(record.id) in again:
            examples.add(record.id)
    return Oddity(
        oddities.SAME_ID, Share(count + len(again), scan.num_records, exact=True), tuple(examples.names)
    )


_PARTS = 16

"""From text to token ids, quickly: words are remembered, and long texts are cut where they allow it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

Tokenize = Callable[[str], Sequence[int]]
"""A tokenizer's own answer for a text: its ids, without begin and end marks."""

COMMA_BACKTRACK = 20
"""How far the usual front ends go back to a comma when a chunk is full, in tokens."""


class WordMemory:
    """A tokenizer that remembers the ids of words. The ids are those of `tokenize`, only sooner.

    Made for CLIP's tokenizer, whose byte-pair encoding never crosses a space: the ids of a text are those of
    its words, one after the other. That does not hold for tokenizers that mark the beginning of a text, such
    as SentencePiece's (T5); give those to `CaptionPipeline.with_counter` as they are.

    Tags repeat, so nearly every word has been seen before. Can be pickled if `tokenize` can; the memory stays
    behind. A text of control tokens, such as "<|endoftext|>", gives what `tokenize` gives.
    """

    def __init__(self, tokenize: Tokenize, *, max_words: int = 1 << 17) -> None:
        self.tokenize = tokenize
        self.max_words = max_words
        """Words remembered at the most, about 200 bytes each; then the memory begins anew."""
        self._known = _Words(tokenize, max_words)

    def ids(self, text: str) -> list[int]:
        """The token ids of a text, begin and end marks not among them."""
        # Only the space parts words here: other white space is left to the tokenizer.
        ids: list[int] = []
        for word in map(self._known.__getitem__, text.split(" ")):
            ids += word
        return ids

    def count(self, text: str) -> int:
        """How many tokens a text has: what `CaptionPipeline.with_counter` asks for."""
        return sum(map(len, map(self._known.__getitem__, text.split(" "))))

    def __reduce__(self) -> tuple[type[WordMemory], tuple[Tokenize]]:
        return type(self), (self.tokenize,)


class _Words(dict[str, tuple[int, ...]]):
    """The ids of each word; a word that is not there is asked for."""

    def __init__(self, tokenize: Tokenize, max_words: int) -> None:
        super().__init__({"": ()})
        self._tokenize = tokenize
        self._max_words = max_words

    def __missing__(self, word: str) -> tuple[int, ...]:
        if len(self) >= self._max_words:
            self.clear()
            self[""] = ()
        ids = self[word] = tuple(self._tokenize(word))
        return ids


def split_chunks(
    ids: Sequence[int], *, separators: Collection[int], size: int = 75, backtrack: int = COMMA_BACKTRACK
) -> list[list[int]]:
    """The ids in chunks of at most `size`, cut behind a separator where one is near enough.

    A full chunk is cut behind its last separator if that is among its last `backtrack` tokens; what follows
    begins the next chunk. So no tag of less than `backtrack` tokens is torn in two. Chunks that end early are
    padded by whoever feeds them to a text encoder. This is what AUTOMATIC1111's front end does at inference
    with its setting `comma_padding_backtrack`, 20 by default. `backtrack = 0` cuts at `size` alone.

    One empty chunk for no ids. `ValueError` for a size below 1 or a negative backtrack.

    >>> split_chunks([5, 5, 9, 1, 5, 5, 9, 2], separators={9}, size=4, backtrack=2)
    [[5, 5, 9], [1, 5, 5, 9], [2]]
    """
    if size < 1 or backtrack < 0:
        raise ValueError(f"size must be 1 or more and backtrack 0 or more, got {size} and {backtrack}")
    chunks: list[list[int]] = []
    start = 0
    while len(ids) - start > size:
        end = start + size
        if ids[end] not in separators:  # Else the chunk ends where a tag does.
            for cut in range(end, max(start, end - backtrack), -1):
                if ids[cut - 1] in separators:
                    end = cut
                    break
        chunks.append(list(ids[start:end]))
        start = end
    chunks.append(list(ids[start:]))
    return chunks


def chunked_length(chunks: Sequence[Sequence[int]], size: int = 75) -> int:
    """Tokens that chunks take up, the padding of all but the last one counted.

    >>> chunked_length([[5, 9], [1, 5, 5, 9], [2]], size=4)
    9
    """
    return size * (len(chunks) - 1) + len(chunks[-1])

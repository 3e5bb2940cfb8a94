"""CLIP's tokenizer, made from its list of byte-pair merges.

The list (``bpe_simple_vocab_16e6.txt.gz``) is OpenAI's, as distributed with open_clip under the MIT License;
it ships with the package because a single file holds no tokenizer, and nothing is fetched from a hub.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from trainkit.errors import ModelError

MERGES = Path(__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
"""SHA-256 924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a."""

_NUM_MERGES = 49152 - 256 - 2
"""The file has more lines; CLIP uses the first 48,894 after its header."""


def clip_tokenizer(merges: Path = MERGES) -> Any:
    """CLIP's tokenizer: 49,408 tokens, at most 77 of them in a row.

    Raises ModelError when the list of merges cannot be read.
    """
    from transformers import CLIPTokenizer

    try:
        lines = gzip.decompress(merges.read_bytes()).decode("utf-8").split("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ModelError(f"the list of merges {merges} cannot be read: {error}") from error
    pairs = [tuple(line.split()) for line in lines[1 : _NUM_MERGES + 1]]
    letters = _byte_letters()
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in pairs)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    made: Any = CLIPTokenizer  # Takes pairs, though its signature names text only.
    return made(vocab=vocabulary, merges=pairs, model_max_length=77)


def _byte_letters() -> list[str]:
    """A printable character for every byte, in the order of CLIP's vocabulary: those that are printable
    themselves first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]

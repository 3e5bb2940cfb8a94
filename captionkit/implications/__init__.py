"""Which tag implies which: the graph, and where it comes from.

`implications.build` gives an account of what a source leaves out, `implications.audit` holds a data set
against a graph.
"""

from captionkit.implications.aliases import read_aliases, resolve_aliases
from captionkit.implications.field import Implications, read_implications
from captionkit.implications.graph import ImplicationGraph
from captionkit.implications.source import ImplicationSource

__all__ = [
    "ImplicationGraph",
    "ImplicationSource",
    "Implications",
    "read_aliases",
    "read_implications",
    "resolve_aliases",
]

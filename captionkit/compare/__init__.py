"""What a change of recipe changes: settings, figures, tags, texts."""

from captionkit.compare.result import Change, Comparison, Difference, Example
from captionkit.compare.run import compare

__all__ = ["Change", "Comparison", "Difference", "Example", "compare"]

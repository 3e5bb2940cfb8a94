"""HTML pages in one look: self-contained files, light and dark, that work offline and on a phone."""

from trainkit.pages.page import page
from trainkit.pages.plot import inline_svg
from trainkit.pages.thumbnail import thumbnail

__all__ = ["inline_svg", "page", "thumbnail"]

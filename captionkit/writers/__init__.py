"""From records to files: every format that can hold them, and what each cannot hold."""

from captionkit.writers.open import open_target

__all__ = ["open_target"]

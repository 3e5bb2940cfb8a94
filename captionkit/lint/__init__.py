"""What is wrong with a recipe over data: findings in order of weight."""

from captionkit.lint.findings import Finding, Severity
from captionkit.lint.rules import lint

__all__ = ["Finding", "Severity", "lint"]

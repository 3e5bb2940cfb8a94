"""Whole numbers on the command line. Imports nothing else, as commands that answer at once use it."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """A whole number of at least 1, as argparse asks for it. Raises ArgumentTypeError."""
    return _at_least(1, text)


def at_least_0(text: str) -> int:
    """A whole number of at least 0. Raises ArgumentTypeError."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) < least:
        raise argparse.ArgumentTypeError(f"is {text!r}, must be a whole number of at least {least}")
    return int(text)

"""Deterministic rules over whole sentences; each takes a text and gives one back."""

"""The commands of ``trainkit``, one module each."""

"""The errors that a user of trainkit can cause and mend."""

from __future__ import annotations


class TrainkitError(ValueError):
    """Something a user can mend. The message says what is wrong, where, and what to do next."""


class ConfigError(TrainkitError):
    """A run file that cannot be used. Carries every problem found, not only the first.

    ``problems`` holds one line per problem, each beginning with the path of its field.
    """

    def __init__(self, where: str, problems: list[str]) -> None:
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{where}: {count}\n" + "\n".join(f"  {problem}" for problem in problems))


class ModelError(TrainkitError):
    """A model folder that lacks a part or cannot be read."""


class PictureError(TrainkitError):
    """A picture that cannot be used. ``picture`` is its path."""

    def __init__(self, picture: str, reason: str) -> None:
        self.picture = picture
        self.reason = reason
        super().__init__(f"{picture}: {reason}")


class StoreError(TrainkitError):
    """A store of pictures that does not answer, or cannot be asked."""


class LaunchError(TrainkitError):
    """Processes that were started in a way in which they would not work together."""


class CheckpointError(TrainkitError):
    """A checkpoint that could not be written, or does not belong to this run."""


class LockError(TrainkitError):
    """A run's folder that another process works in, or that cannot be one."""


class LoaderError(TrainkitError):
    """Micro-batches could not be prepared. ``trace`` is the traceback, for whoever mends trainkit; perhaps
    empty."""

    def __init__(self, message: str, trace: str = "") -> None:
        self.trace = trace
        super().__init__(message)


class CacheError(TrainkitError):
    """A cache of latents or texts that cannot be written, or for which there is no room."""


class DamagedError(CacheError):
    """A file of a cache that is not as it was written; the message says how, not which."""

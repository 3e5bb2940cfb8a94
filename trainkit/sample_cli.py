"""Where ``read_objective`` used to be; it is in trainkit.trained_as."""

from trainkit.trained_as import read_objective

__all__ = ["read_objective"]

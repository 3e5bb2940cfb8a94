"""From data of any kind to a prepared manifest: sizes, digests and records in memory-mapped tables."""

from trainkit.prepare.prepare import Prepared, prepare
from trainkit.prepare.problems import Fault, Problem, Remark
from trainkit.prepare.settings import PrepareConfig

__all__ = ["Fault", "PrepareConfig", "Prepared", "Problem", "Remark", "prepare"]

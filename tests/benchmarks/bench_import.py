"""What `import captionkit` costs beside importing pydantic: processor time of fresh interpreters.

python tests/benchmarks/bench_import.py
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile

NUM_RUNS = 9
PYDANTIC = "import pydantic\nclass M(pydantic.BaseModel):\n    x: int = 0\n"


def main() -> None:
    bare, pydantic = milliseconds("pass"), milliseconds(PYDANTIC)
    captionkit = milliseconds("import captionkit")
    recipe = milliseconds("import captionkit; captionkit.preset('hyperfusion')")
    print(f"pydantic with one model {pydantic - bare:.0f} ms, captionkit {captionkit - pydantic:+.0f} ms")
    print(f"with the preset loaded {recipe - pydantic:+.0f} ms")


def milliseconds(code: str) -> float:
    """Processor time of a fresh interpreter that runs the code: the third fastest of nine."""
    spent = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(NUM_RUNS):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return sorted(spent)[2] * 1000


if __name__ == "__main__":
    main()

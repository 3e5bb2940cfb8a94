"""``python -m trainkit``, which is what torchrun starts."""

import sys

from trainkit.cli import main

sys.exit(main())

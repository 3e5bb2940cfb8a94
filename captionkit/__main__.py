"""`python -m captionkit` is the command `captionkit`."""

import sys

from captionkit.cli import main

sys.exit(main())

"""``python -m logitlab``."""

import sys

from logitlab.cli import main

sys.exit(main())

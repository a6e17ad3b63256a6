"""``python -m pingsix_asgi`` is the command ``pingsix-asgi``."""

import sys

from .cli import main

sys.exit(main())

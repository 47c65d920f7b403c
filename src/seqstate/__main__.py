"""`python -m seqstate` is `seqstate`."""

import sys

from seqstate.cli import main

sys.exit(main())

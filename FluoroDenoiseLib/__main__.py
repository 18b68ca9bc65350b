"""`python -m FluoroDenoiseLib` is the command `fluorodenoise`."""

import sys

from FluoroDenoiseLib.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m tutelage.cli` is the command `tutelage`."""

import sys

from tutelage.cli.main import main

sys.exit(main())

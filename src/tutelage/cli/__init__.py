"""The command line. It imports torch only for commands that compute."""

from tutelage.cli.main import main

__all__ = ["main"]

"""The command `tutelage`: finds the sub-command, and turns errors into one clear line and exit code 2."""

from __future__ import annotations

import atexit
import importlib
import os
import sys
from collections.abc import Sequence

from tutelage import __version__
from tutelage.errors import OptionError, TutelageError, nearest

COMMANDS = {
    "list": ("browse", "show all methods, or search them: tutelage list calibration"),
    "show": ("browse", "show one method: what it does, options, batch keys, reference, results"),
    "run": ("run", "run a published method against its baselines"),
    "compare": ("distill", "train several methods on the same data and budget, one table"),
    "distill": ("distill", "teach your student with your teacher on your data, and ship it"),
    "pretrain": ("pretrain", "learn features of your images without labels, and leave a backbone"),
    "semi": ("semi", "learn from few labels and many unlabelled images"),
    "label": ("label", "run a teacher once over a data set and keep what it says, to learn from later"),
    "store": ("store", "look after what is kept: tutelage store verify|info|merge"),
    "export": ("ship", "write the student of a run as ONNX or int8"),
    "report": ("ship", "write (again) the HTML page of a run"),
    "results": ("browse", "show the results of full-size runs, or write them into the README and the docs"),
}
"""Each command: the module of this package that has it, as a function `COMMAND(arguments) -> exit code`, and its help."""

USAGE = (
    "usage: tutelage COMMAND [ARGUMENTS]\n\nTeacher-student learning in one grammar.\n\ncommands:\n"
    + "\n".join(f"  {name:9} {text}" for name, (_, text) in COMMANDS.items())
    + "\n\n'tutelage COMMAND --help' explains one.  --version shows the version, --debug the traceback of an error.\n"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    A process of several that trained together ends in here, because the threads of gloo can abort the interpreter's own end.

    Args:
        arguments: the words after `tutelage`; those of this process by default.

    Returns:
        The exit code: 0, 2 for a mistake that the message says how to cure, 130 after Ctrl-C.
    """
    code = _answer(list(sys.argv[1:] if arguments is None else arguments))
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _answer(words: list[str]) -> int:
    debug = "--debug" in words
    words = [w for w in words if w != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0 if words else 2
    if words[0] in ("--version", "-V"):
        print(f"tutelage {__version__}")
        return 0
    try:
        if words[0] not in COMMANDS:
            raise OptionError(f"No command is called '{words[0]}'.{nearest(words[0], COMMANDS)}")
        home = importlib.import_module(f"tutelage.cli.{COMMANDS[words[0]][0]}")
        code: int = getattr(home, f"{words[0]}_")(words[1:])
        return code
    except TutelageError as error:
        if debug:
            raise
        print(f"tutelage: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        if debug:
            raise
        print(f"tutelage: {error or 'interrupted'}", file=sys.stderr)
        if str(error):
            print("Go on with the same command and --resume.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141

"""The one exception that means "the user can mend this": its message is a sentence saying what, where and what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake of the caller's, or a damaged file: shown as one sentence, without a traceback.

    The message names what is wrong, where, and what to do about it.
    """


def run_main(main: Callable[[], None]) -> None:
    """Run a command-line ``main``; turn a :class:`UserError` into one sentence on standard error and exit status 2."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; the same command continues where this one stopped", file=sys.stderr)
        raise SystemExit(130) from None

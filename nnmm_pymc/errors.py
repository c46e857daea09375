"""The one exception for what a user can mend: one sentence saying what, where and what to do."""

from __future__ import annotations

__all__ = ["InputError"]


class InputError(ValueError):
    """Input, formula or model that cannot be used as given.

    The message is one sentence that names the file, column, row, term or variable at fault.
    The command line prints it without a traceback and exits with status 2.
    """

"""Ctrl-C and SIGTERM let a chain end its iteration, so that it can write where it is."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

__all__ = ["StopSignals", "Stopped"]


class Stopped(Exception):
    """A chain ended between two iterations since a signal asked for it."""


class StopSignals:
    """Notes SIGINT and SIGTERM while it is entered; a second SIGINT does not wait.

    Attributes
    ----------
    asked : int or None
        The signal that came.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                # A handler of the user's own stays, and what is ignored stays ignored.
                if before in (signal.SIG_DFL, signal.default_int_handler):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def take(self) -> None:
        """Note them in the process of a chain, which is stopped by SIGTERM if by anything."""
        signal.signal(signal.SIGTERM, self._note)
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._note)

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _note(self, number: int, _frame: Any) -> None:
        if self.asked is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = self.asked or number

    def check(self) -> None:
        """Raise `Stopped` if a signal came."""
        if self.asked is not None:
            raise Stopped

    def die(self) -> None:
        """End this process by the signal that came, for its parent to see which."""
        assert self.asked is not None
        signal.signal(self.asked, signal.SIG_DFL)
        os.kill(os.getpid(), self.asked)

    def error(self, sentence: str) -> BaseException:
        """What Python raises for the signal, with a sentence that says how to go on."""
        return SystemExit(sentence) if self.asked == signal.SIGTERM else KeyboardInterrupt(sentence)

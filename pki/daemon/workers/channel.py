"""A worker's end of the channel to its supervisor."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

from pki.daemon.workers.messages import AskNumbers, Command, OthersNumbers

_ANSWER_SECONDS = 2.0


class SupervisorChannel:
    """The channel to the supervisor. The process ends when the channel does.

    Args:
        channel: the worker's end.
    """

    def __init__(self, channel: Connection) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._answers: queue.SimpleQueue[OthersNumbers] = queue.SimpleQueue()
        self._commanding = threading.Lock()
        self._commands: list[Command] = []
        self._commanded: Callable[[Command], None] = self._commands.append

    def first(self) -> object:
        """Return the first message; called before :meth:`listen`.

        Raises:
            EOFError: if there is no supervisor any more.
        """
        return self._channel.recv()

    def listen(self) -> None:
        """Listen from now on, in a thread of its own. Commands wait for :meth:`obey`."""
        threading.Thread(target=self._listen, name="handfast-supervisor", daemon=True).start()

    def obey(self, commanded: Callable[[Command], None]) -> None:
        """Do what the supervisor commands.

        Args:
            commanded: called with each command, also with those that have come before. It returns
                at once.
        """
        with self._commanding:
            self._commanded = commanded
            for command in self._commands:
                commanded(command)

    def send(self, message: object) -> None:
        """Send a message. A supervisor that is gone is noticed by the thread that listens."""
        with self._lock, suppress(OSError):
            self._channel.send(message)

    def others_numbers(self) -> OthersNumbers:
        """Return what the other workers have counted; nothing if no answer comes in time."""
        with self._asking:
            while not self._answers.empty():
                # Of a question whose answer came too late.
                self._answers.get()
            self.send(AskNumbers())
            with suppress(queue.Empty):
                return self._answers.get(timeout=_ANSWER_SECONDS)
            return OthersNumbers(())

    def _listen(self) -> None:
        while True:
            try:
                message = self._channel.recv()
            except (EOFError, OSError):
                # Nobody would end this process later, or say that it may not go on.
                os._exit(1)
            if isinstance(message, OthersNumbers):
                self._answers.put(message)
            elif isinstance(message, Command):
                with self._commanding:
                    self._commanded(message)

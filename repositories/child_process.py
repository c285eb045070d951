"""Work in a child process: what it imports and allocates ends with it."""

import os
import traceback
from collections.abc import Callable

import gevent
from gevent.monkey import get_original, is_module_patched


class ChildFailed(Exception):
    """The work failed; the message says why. The work raises it for failures that need no traceback."""


def in_child(work: Callable[[], str]) -> str:
    """The text that ``work`` returns. Only for a process that has no other threads yet.

    Raises :class:`ChildFailed` for whatever it raises; for anything else than that, the child prints its traceback.
    """
    # Not gevent's own fork and waitpid, nor its close: they act in the event loop, and here nothing runs it.
    fork, waitpid = get_original("os", "fork"), get_original("os", "waitpid")
    reader, writer = os.pipe()
    with open(reader) as receiver, open(writer, "w") as sender:
        child = fork()
        if child == 0:
            code = 1
            try:
                text, code = _outcome(work)
                sender.write(text)
                sender.close()
            finally:
                os._exit(code)  # and never anything of the parent's
        sender.close()
        text = receiver.read()
    _, status = waitpid(child, 0)
    if status:
        raise ChildFailed(text or f"The child process ended with status {status}.")
    return text


def _outcome(work: Callable[[], str]) -> tuple[str, int]:
    if is_module_patched("os"):
        gevent.reinit()  # the parent's event loop is not to be touched from here
    try:
        return work(), 0
    except ChildFailed as error:
        return str(error), 1
    except BaseException as error:  # noqa: BLE001  # nobody is above us in the child
        traceback.print_exc()
        return f"{type(error).__name__}: {error}", 1

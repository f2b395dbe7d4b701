"""Waiting for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(what: Callable[[], T], seconds: float, complaint: Callable[[], str], pause: float = 0.05) -> T:
    """The first truthy answer.

    Args:
        what: Asked again and again.
        seconds: How long.
        complaint: What is said where it takes longer, asked for then: logs and states as they are at the end.
        pause: Seconds between two questions.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = what()
        if found:
            return found
        time.sleep(pause)
    raise AssertionError(f"waited {seconds} s in vain; {complaint()}")

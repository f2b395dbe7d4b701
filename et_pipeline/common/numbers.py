"""Numbers that may be unknown."""

from __future__ import annotations

import math
from typing import TypeVar

Value = TypeVar("Value")


def finite(value: Value) -> Value | None:
    """A value as it is; None in place of NaN and infinity, which JSON cannot say.

    Args:
        value: A number, or anything else, which is returned unchanged.
    """
    return None if isinstance(value, float) and not math.isfinite(value) else value

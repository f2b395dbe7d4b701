"""How often Python's garbage collector runs."""

import gc


def look_for_garbage_rarely() -> None:
    """Lets Python look for reference cycles after every 100,000 new objects instead of every 700.

    Imports create many objects and hardly any cycles; without this, the search for cycles takes a sixth of a tick.
    """
    gc.set_threshold(100_000)

"""How often Python looks for garbage."""

import gc


def look_for_garbage_rarely() -> None:
    """Python looks for reference cycles after every 100,000 new objects, not after every 700.

    Importing makes many objects and hardly a cycle that is garbage; to look for them takes a sixth of a tick.
    """
    gc.set_threshold(100_000)

"""ExperimentTracker (`gov.experimenttracker`): watches experiments, says what it found, never promotes."""

import os

__version__ = "0.1.0"

# polars reads this when it is loaded. By default it gives freed memory back after half a second. That is shorter than
# the work on a few blocks of a file on a busy machine, and memory that was given back has to be asked for again.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:10000")

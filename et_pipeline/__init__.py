"""ExperimentTracker (`gov.experimenttracker`): watches experiments, says what it found, never promotes."""

__version__ = "0.1.0"

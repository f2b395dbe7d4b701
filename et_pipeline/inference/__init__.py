"""Cells in, intervals out: numpy and scipy only.

In: arrays of cells. Out: paths, boundaries, diagnostics. Nothing is imported here, so that naming this package costs
no start-up time; import the modules.
"""

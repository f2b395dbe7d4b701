"""Cells in, intervals out: numpy and scipy only.

In: arrays of cells. Out: paths, boundaries, diagnostics. This file imports nothing, so that importing the package
takes no time; import its modules instead.
"""

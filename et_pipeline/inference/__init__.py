"""Cells in, intervals out: numpy and scipy only.

Nothing is imported here, so that naming this package costs no start-up time; import the modules.
"""

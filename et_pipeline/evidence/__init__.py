"""Cells become interval paths, diagnostics, sample ratios and drift: what a verdict is made from.

In: `cells` and registered experiments. Out: `interval_path`, `intervals`, `diagnostics`, `sample_ratio`, `drift`.
"""

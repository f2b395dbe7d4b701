"""Computes interval paths, diagnostics, sample ratios and drift from cells: the evidence for verdicts.

In: `cells` and registered experiments. Out: `interval_path`, `intervals`, `diagnostics`, `sample_ratio`, `drift`.
"""

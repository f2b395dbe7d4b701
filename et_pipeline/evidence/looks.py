"""A plan's looks, and how many further pairs are needed until one of them decides; it reads no tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from et_pipeline.common.times import epoch_microseconds
from et_pipeline.experiments.registered import MetricTerms, RegisteredExperiment
from et_pipeline.inference import horizon, power
from et_pipeline.inference.horizon import Horizon


def horizon_of(plan: RegisteredExperiment) -> Horizon | None:
    """A plan's looks; None where its boundary is valid for ever."""
    if plan.boundary == "mixture":
        return None
    return Horizon(
        epoch_microseconds(plan.starts_at),
        plan.time_block_us,
        plan.planned_blocks,
        plan.min_samples_for_decision,
    )


def further_pairs(plan: RegisteredExperiment, terms: MetricTerms, row: Mapping[str, Any]) -> int | None:
    """Further pairs that are needed until a decision, if mean and spread stay as they are.

    Args:
        plan: The experiment.
        terms: The plan's terms for the metric.
        row: The metric's row of `interval_path`.

    Returns:
        The number of pairs; None where no decision is to be expected, or where it cannot be computed yet.
    """
    mean, se = row["mean_uplift"], row["se"]
    if mean is None or not se:
        return None
    if row["looks"] is None:
        further = power.further_pairs(
            mean,
            se,
            row["effective_clusters"],
            row["n_pairs"],
            alpha=plan.alpha,
            g=plan.g,
            null=-terms.margin,
            equivalence_margin=terms.equivalence_margin,
            min_pairs=plan.min_samples_for_decision,
        )
    else:
        further = horizon.further_pairs(
            mean,
            se,
            row["degrees_of_freedom"],
            row["n_pairs"],
            row["n_blocks"],
            look=row["look"],
            looks=row["looks"],
            alpha=plan.alpha,
            null=-terms.margin,
            equivalence_margin=terms.equivalence_margin,
            min_pairs=plan.min_samples_for_decision,
        )
    return math.ceil(further) if math.isfinite(further) else None

"""The Dagster edge: specs, assets and checks of each stage, ticks, partitions, sensors and operations.

In: Dagster's runs. Out: calls of the stages, and what the Dagster UI shows. Nothing below this folder imports Dagster.
"""

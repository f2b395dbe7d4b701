"""Plan files become registered experiments, frozen by their hash once they have started.

In: `data/experiments/*.yaml`. Out: the tables `experiments` and `experiment_metrics`, and refusals.
"""

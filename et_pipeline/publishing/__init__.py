"""Delivers the messages of the outbox, each at least once, and records the result of every attempt.

In: the table `events`. Out: NATS, HTTP, files, the operators' metrics, and the table `deliveries`.
"""

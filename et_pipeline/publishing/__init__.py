"""Messages leave the outbox, at least once, and what became of each is recorded.

In: the table `events`. Out: NATS, HTTP, files, the operators' metrics, and the table `deliveries`.
"""

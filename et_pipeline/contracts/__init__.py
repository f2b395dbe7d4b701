"""The data formats that the project shares with others: reports, plans, messages, metrics and reason codes.

In: documents from outside. Out: checked values, or refusals that name the key, the value and what is allowed.
"""

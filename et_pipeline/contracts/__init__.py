"""What the project agrees on with others: reports, plans, messages, metrics and reason codes.

In: documents from outside. Out: checked values, or refusals that name the key, the value and what is allowed.
"""

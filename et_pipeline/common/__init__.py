"""What every room may use: text for people, times, files, SQL, input that nobody checked yet.

In: plain Python values. Out: plain Python values. It imports nothing of the project.
"""

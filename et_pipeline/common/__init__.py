"""What every package may use: text for people, numbers, times, files, SQL, and input that is not checked yet.

In: plain Python values. Out: plain Python values. It imports nothing of the project.
"""

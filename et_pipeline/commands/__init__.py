"""The commands of the program `et`, one module for each or for a few related ones.

In: options of the command line. Out: text or JSON on standard output, and an exit status.
"""

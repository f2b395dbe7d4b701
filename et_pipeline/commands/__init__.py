"""The commands of `et`, by what a person wants: run, look, govern, generate.

In: options of the command line. Out: text or JSON on standard output, and an exit status.
"""

"""The commands of `et`, by what a person wants: run, look, govern, generate."""

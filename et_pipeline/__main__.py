"""`python -m et_pipeline` is `et`."""

from et_pipeline.cli import main

main()

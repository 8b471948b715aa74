"""``python -m hdg``."""

from hdg.cli import main

main()

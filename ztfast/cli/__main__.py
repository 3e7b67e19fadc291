"""``python -m ztfast.cli``."""

from ztfast.cli import main

main()

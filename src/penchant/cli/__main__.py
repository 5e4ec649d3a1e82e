"""`python -m penchant.cli`: the command line without its entry point."""

from penchant.cli import main

main()

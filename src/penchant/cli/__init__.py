"""The command line: `penchant diagnose | predict | studies | reproduce`."""

from penchant.cli import (
    _diagnose as _diagnose,
    _predict as _predict,
    _studies as _studies,
)
from penchant.cli._app import app as app


def main() -> None:
    """Entry point of the `penchant` command."""
    app()

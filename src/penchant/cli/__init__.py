"""The command line: `penchant diagnose | compare | certify | identify | …`."""

from penchant._engine import keep_programs
from penchant.cli import (
    _audit as _audit,
    _certify as _certify,
    _compare as _compare,
    _diagnose as _diagnose,
    _explore as _explore,
    _identify as _identify,
    _match as _match,
    _predict as _predict,
    _probe as _probe,
    _studies as _studies,
    _sweep as _sweep,
)
from penchant.cli._app import app as app


def main() -> None:
    """Entry point of the `penchant` command."""
    keep_programs()
    app()

"""`penchant`, stopped by one Ctrl-C in the middle of a stage named in STAGE."""

import os
import signal
import sys
import time

from penchant._progress import Stages
from penchant.cli import main


def stop_in(stage):
    """One Ctrl-C as the stage is told, or as the report is written."""
    plain = Stages.__call__
    done = []

    def stopped(self, text):
        plain(self, text)
        if text.startswith(stage) and not done:
            done.append(text)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)

    Stages.__call__ = stopped
    if stage == "writing":
        from penchant.diagnosis import AbstractDiagnosis

        page = AbstractDiagnosis._write

        def late(self, folder):
            os.kill(os.getpid(), signal.SIGINT)
            return page(self, folder)

        AbstractDiagnosis._write = late


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stop_in(os.environ["STAGE"])
    sys.exit(main())

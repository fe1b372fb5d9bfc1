"""The process that carries out one job: `python -m gencomp_core worker JOB_ID`."""

import logging
import os
import re
import sys

from gencomp_core.errors import GenCompError
from gencomp_core.records import JobProgress
from gencomp_core.runtime_env import set_threads
from gencomp_core.services import jobs, library
from gencomp_core.services.running import carry_out

POLITE = 5  # whoever moves a slider goes first
COUNT = re.compile(r", (\d+ of \d+|\d+ s)$")
log = logging.getLogger("gencomp")


def main(arguments: list[str]) -> int:
    """Carry out the job of an id, in the store of `GENCOMP_STORE`; returns the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m gencomp_core worker JOB_ID\n")
        return 2
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    if hasattr(os, "nice"):
        os.nice(POLITE)
    try:
        store = library.open_store()
        job = jobs.get(store, arguments[0])
        log.info("job %s: %s", job.id, job.command)
        if job.parameters.get("threads"):
            set_threads(job.parameters["threads"])
        carry_out(store, job, report=_Log())
    except KeyboardInterrupt:
        log.info("stopped")
        logging.shutdown()
        os._exit(130)  # at once: taking down what torch and a pool have built up can take seconds
    except GenCompError as error:
        log.error("gencomp: %s", error)
        return 1
    log.info("done")
    return 0


class _Log:
    """Logs what is done whenever that changes, not how far each has come."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, progress: JobProgress) -> None:
        what = COUNT.sub("", progress.what)
        if what != self._last:
            log.info("%s", what)
        self._last = what

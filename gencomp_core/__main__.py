"""`python -m gencomp_core`: the command line, or the worker of one job."""

import sys

if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        from gencomp_core.worker import main as work

        sys.exit(work(sys.argv[2:]))
    from gencomp_core.cli import main

    main()

"""`python -m gencomp_core`: the command line."""

from gencomp_core.cli import main

if __name__ == "__main__":
    main()

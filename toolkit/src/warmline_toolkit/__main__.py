"""`python -m warmline_toolkit` is the `warmline` command."""

from warmline_toolkit.cli import main

if __name__ == "__main__":
    main()

"""`python -m wisp`."""

from wisp.cli.main import main

if __name__ == "__main__":
    main()

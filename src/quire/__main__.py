"""`python -m quire`, and the entry of the command `quire`."""

import sys


def main() -> int:
    """Run the command line; an interrupt while it still imports ends as quietly as a later one."""
    try:
        from quire.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("quire: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

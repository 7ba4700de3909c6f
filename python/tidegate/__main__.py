"""The command ``tidegate``, also as ``python -m tidegate``."""

import sys

from tidegate import _tidegate


def main() -> int:
    """Run the command with the process's arguments and give its exit status."""
    return _tidegate.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())

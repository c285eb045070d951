"""Ask the node on this machine whether it is ready: ``python -m scripts.check_ready``. Exit code 0: it is."""

import os
import sys
import urllib.error
import urllib.request

_TIMEOUT_S = 5


def main() -> int:
    """Run the command."""
    url = f"http://127.0.0.1:{os.environ.get('PORT') or 3000}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S):
            return 0
    except urllib.error.HTTPError as error:
        with error:
            print(error.read().decode(errors="replace"), file=sys.stderr)
    except OSError as error:
        print(error, file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())

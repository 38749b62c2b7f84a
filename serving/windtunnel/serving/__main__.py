"""``python -m windtunnel.serving``: the model server, in the foreground."""

import sys

from windtunnel.serving.front.server import main

if __name__ == "__main__":
    sys.exit(main())

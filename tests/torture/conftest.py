"""What the torture tests share."""

import sys

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]  # they look for processes in /proc

"""`python -m tests.golden` writes the golden file anew: for a release of torch that draws otherwise."""

import json

from tests.golden.draws import FILE, current

FILE.write_text(json.dumps(current(), indent=1, sort_keys=True) + "\n")

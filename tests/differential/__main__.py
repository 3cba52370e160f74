"""``python -m tests.differential``: reads pickled inputs, writes which engine runs and the
outcomes.
"""

from __future__ import annotations

import pickle
import sys

from lbproxy import compiled
from tests.differential.outcome import outcome

if __name__ == "__main__":
    given = pickle.load(sys.stdin.buffer)
    found = compiled.running(), [outcome(one) for one in given]
    pickle.dump(found, sys.stdout.buffer)

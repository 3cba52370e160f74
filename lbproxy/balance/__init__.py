"""PURE. Which server gets the next connection or request, and the lease that proves it."""

"""CONTROL. A configuration at work: assembled, bound, replaced by the next one, retired."""

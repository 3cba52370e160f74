"""CONTROL. Run-time operations: drain servers, change them, keep the changes over a restart."""

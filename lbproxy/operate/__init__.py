"""CONTROL. Run-time operations: drain and change servers, and keep the changes over a restart."""

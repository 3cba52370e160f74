"""CONTROL. What operators do at run time: drain servers, change them, keep the changes over a restart."""

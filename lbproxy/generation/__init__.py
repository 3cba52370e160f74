"""CONTROL. The live objects of a configuration: their assembly, binding, replacement by a reload,
and end.
"""

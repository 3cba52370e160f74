"""PURE. Conversion of configuration text to frozen objects; reports every error with file
and line.
"""

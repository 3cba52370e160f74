"""Small extensions of each kind, as somebody would write them: the proof that one file and one line
are enough.
"""

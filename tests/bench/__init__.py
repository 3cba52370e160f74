"""The bench: lbproxy and its rivals side by side on one machine; run it with ``make bench``."""

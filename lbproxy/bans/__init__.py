"""PURE. Bans: :mod:`~lbproxy.bans.ledger` decides which clients are banned, and for how long."""

"""PURE. Bans: :mod:`~lbproxy.bans.ledger` decides who is banned, since when and how long."""

"""Attacks on a guarded lbproxy: limits hold, memory is bounded, ordinary clients are served.

``test_short`` has each attack in memory, on the virtual clock; ``test_live`` runs them against a
process, from :mod:`tests.attacks.flood`.
"""

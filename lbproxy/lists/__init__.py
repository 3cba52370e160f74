"""PURE. Lists of addresses: :mod:`~lbproxy.lists.prefixes` stores many prefixes in little memory,
:mod:`~lbproxy.lists.text` reads them, and :mod:`~lbproxy.lists.addresslist` is a named list that
changes while it is in use.
"""

"""DATA. The feature ``challenge``: a browser check in front of a frontend.

- ``spec`` has the keys.
- ``switch`` has the settings of operators and alerts, the same in all processes.
- ``answer`` receives the answers of challenge pages.
- ``crawling`` verifies crawlers by DNS; ``dns`` does the look-ups.
- ``feature`` combines them: its hooks let a request pass, or refuse it with the page.
"""

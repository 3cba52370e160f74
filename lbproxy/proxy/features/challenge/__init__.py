"""DATA. The feature ``challenge``: a check of browsers in front of a frontend.

- ``spec`` has the keys.
- ``switch`` is what operators and alerts say, the same in all processes.
- ``answer`` takes the answers of pages.
- ``crawling`` verifies crawlers by DNS, ``dns`` asks.
- ``feature`` joins them: hooks that let a request pass or refuse it with the page.
"""

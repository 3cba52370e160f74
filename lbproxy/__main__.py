"""``python -m lbproxy`` is the ``lbproxy`` command."""

from lbproxy.cli import main

if __name__ == "__main__":
    main(prog_name="lbproxy")

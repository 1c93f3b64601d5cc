"""`python3 -m pyrun`, and `python3 dist/pyrun` where the file is not executed by itself."""

from pyrun.cli import main

main()

"""`python3 -m pyrund`, and `python3 dist/pyrund` where the file is not executed by itself."""

from pyrund.cli import main

main()

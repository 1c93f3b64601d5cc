"""python3 -m pyfetch"""

from pyfetch.cli import main

main()

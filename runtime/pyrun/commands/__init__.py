"""One module per verb, with one function run(); cli.py says which arguments and options it is called with."""

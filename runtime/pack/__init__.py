"""What build_zipapp.py needs beside the sources of the programs."""

"""How layers become files: decompression, tar, whiteouts, limits."""

"""What all programs of this repository stand on: system calls, strict JSON, and the words of errors."""

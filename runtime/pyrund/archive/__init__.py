"""Files as tar archives: of what a container has, and into what it has, while the container may change both."""

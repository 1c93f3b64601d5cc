"""The flow: how a container is planned, created and started, and how `exec` and `mount` enter one.

The parts are in other packages: the last process of the runtime in stub/, streams and terminals in stdio/, namespaces
in namespaces/.
"""

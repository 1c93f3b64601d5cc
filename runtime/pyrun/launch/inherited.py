"""What the runtime opens for a container before it makes the init, which inherits all of it."""

from foundation.linux import os
from foundation.linux.sched import CLONE_NEWPID
from pyrun.container.state import Container
from pyrun.launch.plan import Plan
from pyrun.rootfs.host import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.launch.opener import Opener


class Inherited:
    """The descriptors, and what opens more.

    memfd        the stub, or -1 where no memfd can be executed
    reaper       the program that --init runs as pid 1, or -1
    hook_output  the files for the output of hooks, see hooks.open_output()
    host         opens what the container gets from the host
    """

    def __init__(self, plan: Plan, memfd: int) -> None:
        self.memfd = memfd
        self.reaper = -1
        if plan.request.init:
            from pyrun.stub import reaper  # few containers have one

            self.reaper = reaper.prepare()
        self.hook_output: list[int] = []
        self.host = Host()
        self.host.sources = plan.request.sources

    def open_for_init(self, plan: Plan, container: Container) -> "Opener | None":
        """Open what the init could not open itself, because it will be in other namespaces with fewer privileges.

        Return the opener for what must be opened in the init's mount namespace, or None if the init may do that itself.
        """
        if plan.has_early_hooks:
            from pyrun.container import hooks  # few containers have some

            self.hook_output = hooks.open_output(plan.config.annotations, plan.bundle)
        opener = None
        if plan.config.linux.namespace("user") and os.geteuid() == 0:
            from pyrun.launch.opener import Opener  # few containers need it

            assert not plan.request.sources  # their attributes would not be locked, see opener.py
            self.host = opener = Opener(plan.config, plan.root, container.directory)
        if plan.namespaces.joins(CLONE_NEWPID):
            from pyrun.namespaces.procfs import open_context  # few containers join one

            self.host.contexts = {mount: open_context(plan.namespaces) for mount in plan.root.procfs}
        if plan.root.mapped:
            from pyrun.namespaces.idmapped_mounts import open_user_namespace  # few containers have such mounts

            linux = plan.config.linux
            self.host.user_namespaces = {mount: open_user_namespace(mount, linux) for mount in plan.root.mapped}
        return opener

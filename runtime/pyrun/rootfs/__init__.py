"""The container's file system: mounts, devices, masks, pivot_root.

Everything goes through descriptors below the root file system's descriptor, and no path into it is used twice: between
two uses another container that shares a volume could put a symlink there (CVE-2021-30465, CVE-2024-45310,
CVE-2025-31133, CVE-2025-52565).  All of it runs in the new mount namespace, before pivot_root, while "/" is the host's.
"""

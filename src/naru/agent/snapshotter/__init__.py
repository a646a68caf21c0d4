"""Root file systems for containerd: a snapshotter that it asks through a socket (`containerd.services.snapshots.v1`).

Layers that containerd unpacks are kept as overlayfs directories, as its own snapshotter does. For an image of which
the node has an index the layers are claimed: containerd then fetches only the manifest and the configuration, and
containers start on a root file system whose files arrive when they are needed. ADR 45 tells how one index of a whole
image goes with containerd's chains of layers. What a root file system is made of: see naru.agent.mount.
"""

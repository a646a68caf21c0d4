"""A registry on each node, from which engines pull without being changed (the pull part of distribution-spec 1.1).

Every byte comes from the registry that an image is named after, once: manifests and blobs are kept, whoever asks for a
blob that is on its way shares it, and nothing is told that has another digest than it was asked by. It takes no
pushes. Files of images, and root file systems that start early: see naru.agent.exchange and naru.agent.mount.
"""

"""Root file systems that are whole to look at and fetched as they are read.

An image's metadata is a mounted EROFS image; overlayfs finds the contents in two data-only lowers: the object store,
and a FUSE tree that fetches what the store lacks. This room mounts and serves. Where objects come from is a Source's
matter, which of them stay is the object store's.
"""

from tests.service.oci.conftest import hostile, open_registry

__all__ = ["hostile", "open_registry"]

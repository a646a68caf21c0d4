from tests.service.oci.conftest import open_registry

__all__ = ["open_registry"]

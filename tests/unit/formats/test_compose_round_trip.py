from pathlib import PurePath

from hypothesis import HealthCheck, given, settings
from tests.unit.formats.workloads import workloads

from naru.domain.workload import Workload
from naru.formats.compose import Ask, read_project, write_project

FILE = PurePath("compose.yaml")


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(workloads())
def test_a_workload_comes_back_from_its_compose_file_as_it_was(workload: Workload):
    written = write_project([workload])

    read = read_project(Ask(lambda path: written.text.encode() if path == FILE else None, {}, (FILE,)))

    assert read.workloads == (workload,)
    assert read.losses == written.losses == ()

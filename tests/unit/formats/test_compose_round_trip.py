from pathlib import PurePath

from hypothesis import HealthCheck, given, settings
from tests.unit.formats.workloads import labels, workloads

from naru.domain.workload import Workload
from naru.formats.compose import Ask, read_project, write_project
from naru.formats.names import as_label

FILE = PurePath("compose.yaml")


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(workloads())
def test_a_workload_comes_back_from_its_compose_file_as_it_was(workload: Workload):
    written = write_project([workload])

    read = read_project(Ask(lambda path: written.text.encode() if path == FILE else None, {}, (FILE,)))

    assert read.workloads == (workload,)
    assert read.losses == written.losses == ()


@given(labels)
def test_a_name_that_is_a_label_already_stays(name: str):
    assert as_label(name, "an app") == name

"""`benchmarks.worker` as on a processor without bfloat16, whatever the processor of this machine has."""

from typing import Any

import openvino

from benchmarks.worker import main

_get_property = openvino.Core.get_property


def _without_bfloat16(core: openvino.Core, *names: Any) -> Any:
    """What OpenVINO reports, less `BF16` in the list of capabilities."""
    found = _get_property(core, *names)
    return [each for each in found if each != "BF16"] if "OPTIMIZATION_CAPABILITIES" in names else found


if __name__ == "__main__":
    openvino.Core.get_property = _without_bfloat16
    main()

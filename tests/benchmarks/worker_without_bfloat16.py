"""`benchmarks.worker` as on a processor without bfloat16: OpenVINO does not report that it supports it."""

from typing import Any

import openvino

from benchmarks.worker import main

_get_property = openvino.Core.get_property


def _without_bfloat16(core: openvino.Core, *names: Any) -> Any:
    found = _get_property(core, *names)
    return [each for each in found if each != "BF16"] if "OPTIMIZATION_CAPABILITIES" in names else found


if __name__ == "__main__":
    openvino.Core.get_property = _without_bfloat16
    main()

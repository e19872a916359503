"""The platforms, as the tests reach them: a file each. A new one is played by all tests that are about every platform."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from audience_syncs_tests.platforms.harness import Harness

HARNESSES: Mapping[str, Harness] = {
    module.name: importlib.import_module(f"{__name__}.{module.name}").HARNESS
    for module in pkgutil.iter_modules(__path__)
    if module.name != "harness"
}

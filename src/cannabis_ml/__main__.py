"""`python -m cannabis_ml` runs the project where it is installed as a package."""

import sys
from pathlib import Path
from typing import Any

try:
    from kedro.framework.cli.utils import find_run_command
    from kedro.framework.project import configure_project
except ImportError as error:
    raise SystemExit(
        f"The pipelines are not installed ({error}): pip install 'cannabis_ml[pipelines,train]'.\n"
        "To ask a bundle about photos: python -m cannabis_ml.inference BUNDLE PHOTO…"
    ) from error


def main(*args: Any, **kwargs: Any) -> Any:
    """Run `kedro run` of this package with the given command-line arguments."""
    package_name = Path(__file__).parent.name
    configure_project(package_name)
    kwargs["standalone_mode"] = not hasattr(sys, "ps1")
    return find_run_command(package_name)(*args, **kwargs)


if __name__ == "__main__":
    main()

"""`python -m cannabis_ml` runs the project where it is installed as a package."""

import sys
from pathlib import Path
from typing import Any


def main(*args: Any, **kwargs: Any) -> Any:
    """Run a command of this package, such as `serve`; `kedro run` where none is named first."""
    given = args[0] if args else sys.argv[1:]
    if given and given[0] == "serve":  # needs no Kedro
        from cannabis_ml.serving.__main__ import main as serve

        sys.exit(serve(given[1:]))
    if given and given[0] == "deploy":
        from cannabis_ml.serving.deploy_command import main as deploy

        sys.exit(deploy(given[1:]))
    if given and given[0] == "feedback":  # needs none with --store
        from cannabis_ml.cli_feedback import feedback

        return feedback(given[1:], prog_name="cannabis_ml feedback", **kwargs)
    try:
        from kedro.framework.cli.utils import find_run_command
        from kedro.framework.project import configure_project
    except ImportError as error:
        raise SystemExit(
            f"The pipelines are not installed ({error}): pip install"
            " 'cannabis_ml[pipelines,train]'.\n"
            "To ask a bundle about photos: python -m cannabis_ml.inference BUNDLE PHOTO…"
        ) from error
    from cannabis_ml.cli import cli

    package_name = Path(__file__).parent.name
    configure_project(package_name)
    kwargs["standalone_mode"] = not hasattr(sys, "ps1")
    if given and given[0] in cli.commands:
        return cli(*args, **kwargs)
    return find_run_command(package_name)(*args, **kwargs)


if __name__ == "__main__":
    main()

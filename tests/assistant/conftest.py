"""Language models on this machine, of both protocols, and photos to ask them about."""

import importlib.util
import sys
from datetime import date
from pathlib import Path

import pytest

from cannabis_ml.assistant.cache import AnswerCache
from cannabis_ml.assistant.cost import find_price
from cannabis_ml.assistant.opening import open_provider
from cannabis_ml.assistant.params import AssistantParams
from cannabis_ml.assistant.runner import Runner
from cannabis_ml.taxonomy import Taxonomy

sys.path.append(str(Path(__file__).parent))  # the servers are used by several modules

from anthropic_server import AnthropicServer
from model_server import example_of
from openai_server import OpenAIServer
from small_photos import photo

SERVERS = {"anthropic": AnthropicServer, "openai": OpenAIServer}
PRICE = {"input": 1000, "output": 1000}
VARIABLES = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}


@pytest.fixture(params=["anthropic", "openai"])
def server(request):
    """A model that gives the least answer of whatever form it is asked for."""
    opened = SERVERS[request.param](lambda asked: example_of(asked.schema))
    opened.provider = request.param
    yield opened
    opened.close()


@pytest.fixture
def anthropic_server():
    opened = AnthropicServer(lambda asked: example_of(asked.schema))
    opened.provider = "anthropic"
    yield opened
    opened.close()


@pytest.fixture
def settings(server, tmp_path):
    """Make parameters: `settings(budget={"batch": False})`."""
    return settings_of(server, tmp_path / "answers")


def settings_of(server, folder):
    def make(**changes):
        fast = {"per_minute": 1e9, "first_wait": 0.0, "longest_wait": 0.0, "poll": 0.001}
        given = {
            "folder": str(folder),
            "model": {"provider": server.provider, "name": "m", "base_url": server.url},
            "photo": {"longest_side": 96},
            "pace": fast | {"attempts": 3, "timeout": 10, "concurrency": 4},
            "budget": {"most_usd": 1000, "batch": False},
            "prices": {
                "date": date(2026, 11, 25),
                "models": {"m": PRICE},
            },
        }
        for name, change in changes.items():
            given[name] = given[name] | change if isinstance(change, dict) else change
        return AssistantParams.model_validate(given)

    return make


@pytest.fixture
def runner(server, settings):
    """Make a runner: `runner(budget={"most_usd": 1})`."""

    def make(**changes):
        params = settings(**changes)
        variables = {VARIABLES[server.provider]: "secret"}
        provider = open_provider(params.model, params.pace.timeout, variables)
        price = find_price(params.model, params.prices)
        return Runner(provider, AnswerCache(params.folder), params, price)

    return make


@pytest.fixture(scope="session")
def taxonomy():
    return Taxonomy.model_validate(
        {
            "heads": [
                {
                    "name": "product",
                    "about": "What it is",
                    "classes": [{"plant": "green leaves"}, {"hash": "a brown slab"}],
                },
                {
                    "name": "grade",
                    "kind": "ordinal",
                    "classes": [{"A": "flawless"}, {"B": "sound"}, {"F": "mould"}],
                },
                {
                    "name": "look",
                    "kind": "multilabel",
                    "classes": [{"seeds": "round"}, {"stems": "bare"}],
                },
            ]
        }
    )


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Make a folder of so many small photos, each of another color: `folder(20)`."""

    def make(count):
        root = tmp_path_factory.mktemp("photos")
        for number in range(count):
            (root / f"{number:03}.jpg").write_bytes(photo(number))
        return root

    return make


@pytest.fixture(scope="session")
def askers():
    """Processes with the SDKs loaded, which may be killed."""
    place = Path(__file__).parents[1] / "fork_server.py"
    spec = importlib.util.spec_from_file_location("fork_server_of_assistant", place)
    forks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(forks)
    with forks.ForkServer(("anthropic", "openai", "jinja2", "pandas", "sqlalchemy")) as opened:
        yield opened


TABLES = "import mlflow; mlflow.set_tracking_uri('sqlite:///mlflow.db'); mlflow.search_runs()"


@pytest.fixture(scope="module")
def tracking(processes, tmp_path_factory):
    """MLflow's database with its tables, which take longer to make than a command takes."""
    folder = tmp_path_factory.mktemp("tracking")
    done = processes.run(["-c", TABLES], cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "mlflow.db"

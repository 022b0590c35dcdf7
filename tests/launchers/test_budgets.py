"""The monthly budgets of docs/launching.md are what the table of prices gives."""

from pathlib import Path

import yaml

from cannabis_ml.launchers.job import Machine
from cannabis_ml.launchers.prices import PriceTable

PROJECT = Path(__file__).parents[2]
HOURS = {"T4": 2.0, "A10G": 1.0}
"""Of a run: 50,000 photos, EfficientNet-B0, 15 epochs."""

BUDGETS = {  # runs a month, GB stored all month, GB sent home
    "trying out: a run a week": (4, 10, 2),
    "regular: a run every working day": (22, 50, 11),
    "growing: five a day": (150, 200, 75),
}
BACKENDS = ("huggingface", "modal", "vertex", "sagemaker", "replicate")


def monthly(table, backend, gpu, budget):
    """US dollars."""
    runs, stored, home = budget
    hourly = table.hourly(backend, Machine(gpu=gpu, cpus=4, memory_gb=16)).usd
    rest = stored * table.per_gb_month(backend) + home * table.per_gb_home(backend)
    return runs * HOURS[gpu] * hourly + rest


def rows():
    """Lines of the table."""
    path = PROJECT / "conf/base/launcher_prices.yml"
    table = PriceTable.model_validate(yaml.safe_load(path.read_text("utf-8")))
    listed = {(price.backend, price.gpu) for price in table.prices}
    machines = [(b, gpu) for gpu in HOURS for b in BACKENDS if (b, gpu) in listed]
    yield f"| | {' | '.join(BUDGETS)} |"
    yield f"|---|{'---|' * len(BUDGETS)}"
    for backend, gpu in machines:
        cells = (f"{monthly(table, backend, gpu, budget):,.0f}" for budget in BUDGETS.values())
        yield f"| {gpu} at {backend} | {' | '.join(cells)} |"


def test_the_documented_budgets_follow_from_the_table():
    page = (PROJECT / "docs/launching.md").read_text("utf-8")
    assert "\n".join(rows()) in page


def test_a_run_at_modal_costs_what_can_be_counted_by_hand():
    path = PROJECT / "conf/base/launcher_prices.yml"
    table = PriceTable.model_validate(yaml.safe_load(path.read_text("utf-8")))
    # 2 hours of a T4 (0.5904), 4 vCPU (0.02358 each) and 16 GB (0.007992 each)
    assert round(monthly(table, "modal", "T4", (1, 0, 0)), 4) == round(
        2 * (0.5904 + 0.09432 + 0.127872), 4
    )


if __name__ == "__main__":
    print("\n".join(rows()))

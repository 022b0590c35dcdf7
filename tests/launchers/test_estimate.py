"""Prices, estimates and limits."""

from pathlib import Path

import pytest
import yaml

from cannabis_ml.launchers.backend import HourlyPrice, LaunchError
from cannabis_ml.launchers.estimate import Sizes, estimate
from cannabis_ml.launchers.job import Job, Machine
from cannabis_ml.launchers.prices import PriceTable
from cannabis_ml.launchers.throughput import Line, Plan, Throughput, TierRate

CONF = Path(__file__).parents[2] / "conf/base/launcher_prices.yml"
TABLE = PriceTable.model_validate(yaml.safe_load(CONF.read_text()))
T4 = Machine(gpu="T4", cpus=4, memory_gb=16)


def job(backend="modal", **other):
    return Job(name="x", backend=backend, command=("run",), **{"machine": T4, **other})


def test_every_price_has_a_source_and_a_backend_that_exists():
    from cannabis_ml.launchers.backends import BACKENDS

    for price in TABLE.prices:
        assert price.source
        assert price.backend in BACKENDS


def test_a_gpu_is_priced_with_what_is_billed_beside_it():
    hourly = TABLE.hourly("modal", T4)
    assert hourly.usd == pytest.approx(0.5904 + 4 * 0.02358 + 16 * 0.007992)
    assert "2026-05-07" in hourly.source
    assert TABLE.hourly("huggingface", T4).usd == 0.40
    assert TABLE.hourly("vertex", Machine(gpu="H100", gpus=2)).usd == pytest.approx(
        2 * 9.797 + 0.2185
    )


def test_a_machine_has_at_least_as_many_gpus_as_asked():
    assert TABLE.hourly("sagemaker", Machine(gpu="A100")).usd == 37.688
    with pytest.raises(LaunchError, match="no price for T4 at sagemaker"):
        TABLE.hourly("sagemaker", Machine(gpu="T4", gpus=4))


def test_a_kind_without_a_price_is_named_with_those_that_have_one():
    with pytest.raises(LaunchError, match=r"no price for B200 at modal \(it has A100, A10G, H100"):
        TABLE.hourly("modal", Machine(gpu="B200"))


def test_ones_own_machine_costs_nothing():
    assert TABLE.hourly("local", T4) is None
    assert estimate(job("ssh"), 3600, TABLE, None, Sizes()).usd == 0


def test_an_estimate_has_machine_storage_and_transfer():
    sizes = Sizes(home=2, stored=10, months=0.5)
    made = estimate(job("vertex"), 7200, TABLE, None, sizes)
    assert made.machine_usd == pytest.approx(2 * (0.40 + 0.2185))
    assert made.storage_usd == pytest.approx(0.020 * 10 * 0.5)
    assert made.transfer_usd == pytest.approx(0.12 * 2)
    assert made.usd == pytest.approx(1.237 + 0.1 + 0.24)


def test_what_the_provider_tells_counts_instead_of_the_table():
    live = HourlyPrice(usd=9.0, what="t4-small", source="asked now")
    assert estimate(job("huggingface"), 3600, TABLE, live, Sizes()).machine_usd == 9.0


def test_a_job_above_its_limit_is_refused():
    made = estimate(job(limit_usd=1.0), 7200, TABLE, None, Sizes())
    with pytest.raises(LaunchError, match=r"about \$1\.74, above its limit of \$1\.00"):
        made.check(job(limit_usd=1.0))
    made.check(job(limit_usd=2.0))


def test_a_job_that_would_take_too_long_is_refused():
    short = job(machine=Machine(gpu="T4", minutes=60), limit_usd=None)
    made = estimate(short, 7200, TABLE, None, Sizes())
    with pytest.raises(LaunchError, match="about 2 h 00 min, and may take 58 min"):
        made.check(short)


def test_without_a_measurement_the_limit_is_the_bound():
    made = estimate(job("huggingface", limit_usd=0.2), None, TABLE, None, Sizes(stored=0))
    assert (made.seconds, made.usd, made.measured) == (1800, pytest.approx(0.2), False)
    made.check(job("huggingface", limit_usd=0.2))


MEASURED = Throughput(
    machine="here",
    command=("run",),
    photos=100,
    start=10,
    nodes={
        "ingestion.index_photos": Line(fixed=1, each=0.1),
        "training.tier1.predict_photos": Line(sized=0.02),
    },
    tiers={
        "tier1": TierRate(
            image_size=96,
            phases={"heads": Line(fixed=0.5, each=0.01), "top": Line(sized=0.1)},
            epochs={"heads": 8, "top": 4},
            besides=Line(fixed=2, each=0.02, sized=0.01),
        )
    },
    sized={"training.tier1.predict_photos": "tier1"},
)


def test_a_run_takes_what_its_parts_take():
    training = 2 + 3 + 8 * (0.5 + 1) + 4 * 10
    assert MEASURED.seconds() == pytest.approx(10 + 1 + 10 + 2 + training)


def test_more_photos_more_epochs_and_larger_photos_take_longer():
    plan = Plan(photos=200, epochs={"tier1": {"top": 6}}, image_size={"tier1": 192})
    training = 2 + 0.02 * 200 + 4 * 0.01 * 200 + 8 * (0.5 + 0.01 * 200) + 6 * 4 * 20
    assert MEASURED.seconds(plan) == pytest.approx(10 + 1 + 20 + 4 * 4 + training)


def test_a_smaller_probe_tells_what_grows_with_the_area():
    line = Line(fixed=1, each=0.1)
    half = line.split(seconds=11.0, smaller=8.0, photos=100, area=0.5)
    assert (half.each, half.sized) == (pytest.approx(0.04), pytest.approx(0.06))
    assert half.at(100) == pytest.approx(line.at(100))
    assert half.at(100, area=0.5) == pytest.approx(8.0)
    assert line.split(11.0, 12.0, 100, 0.5) == line  # noise: nothing seems to grow
    assert line.split(11.0, 0.0, 100, 0.5) == Line(fixed=1, sized=0.1)


def test_a_line_through_two_probes_has_no_negative_part():
    line = Line.through((50, 6.0), (100, 10.0))
    assert (line.fixed, line.each) == (pytest.approx(2), pytest.approx(0.08))
    assert Line.through((50, 6.0), (100, 5.0)) == Line(fixed=5.0, each=0.0)
    steep = Line.through((50, 1.0), (100, 9.0))
    assert (steep.fixed, steep.each) == (0, pytest.approx(0.16))

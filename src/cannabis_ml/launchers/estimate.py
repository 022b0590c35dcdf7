"""What a job will cost, before it starts."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from cannabis_ml.launchers.backend import HourlyPrice, LaunchError
from cannabis_ml.launchers.job import Job
from cannabis_ml.launchers.prices import PriceTable

HOURS_OF_MONTH = 730.0


class Sizes(BaseModel):
    """Gigabytes, and how long they stay.

    Attributes:
        up: Photos and code that go up.
        home: Results that come home.
        stored: What lies at the provider meanwhile and afterwards.
        months: How long it lies there.
    """

    model_config = ConfigDict(frozen=True)

    up: float = Field(default=0.0, ge=0)
    home: float = Field(default=1.0, ge=0)
    stored: float = Field(default=5.0, ge=0)
    months: float = Field(default=0.25, ge=0)


class Estimate(BaseModel):
    """Time and money of a job; amounts in US dollars.

    Attributes:
        seconds: Of the machine, with its set-up.
        usd_per_hour: Of the machine; 0 on one's own.
        what: The provider's name of the machine.
        source: Of its price, with the date.
        measured: Whether `seconds` comes from a probe; else it is the time that the job may take,
            an upper bound.
    """

    model_config = ConfigDict(frozen=True)

    seconds: float = Field(ge=0)
    usd_per_hour: float = Field(ge=0)
    machine_usd: float = Field(ge=0)
    storage_usd: float = Field(ge=0)
    transfer_usd: float = Field(ge=0)
    what: str
    source: str
    measured: bool

    @property
    def usd(self) -> float:
        """All together."""
        return self.machine_usd + self.storage_usd + self.transfer_usd

    def check(self, job: Job) -> None:
        """Refuse a job that would not end within its limits.

        Raises:
            LaunchError: More time or money is needed than the job may take.
        """
        if not self.measured:
            return
        if job.limit_usd is not None and self.usd > job.limit_usd:
            raise LaunchError(
                f"The job would cost about ${self.usd:.2f}, above its limit of"
                f" ${job.limit_usd:.2f}: raise limit_usd (--limit), or train less."
            )
        if self.seconds > job.seconds_of_work:
            raise LaunchError(
                f"The job would take about {duration(self.seconds)}, and may take"
                f" {duration(job.seconds_of_work)}: raise machine.minutes (--minutes) or the limit."
            )


def estimate(
    job: Job, run_seconds: float | None, table: PriceTable, live: HourlyPrice | None, sizes: Sizes
) -> Estimate:
    """What a job will cost.

    Args:
        job: With its machine and limits.
        run_seconds: What its command takes there, with set-up; None: not measured, so the time that
            it may take is taken.
        table: Prices.
        live: What the provider itself tells, which counts instead.
        sizes: What is stored and sent.

    Raises:
        LaunchError: The table has no price for the machine.
    """
    hourly = live or table.hourly(job.backend, job.machine)
    usd = hourly.usd if hourly else 0.0
    priced = job.model_copy(update={"usd_per_hour": usd})
    seconds = float(priced.seconds_allowed) if run_seconds is None else run_seconds
    return Estimate(
        seconds=seconds,
        usd_per_hour=usd,
        machine_usd=usd * seconds / 3600,
        storage_usd=table.per_gb_month(job.backend) * sizes.stored * sizes.months,
        transfer_usd=table.per_gb_home(job.backend) * sizes.home,
        what=hourly.what if hourly else "one's own machine",
        source=hourly.source if hourly else "",
        measured=run_seconds is not None,
    )


def duration(seconds: float) -> str:
    """`1 h 05 min`, `12 min` or `40 s`."""
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min" if minutes >= 2 else f"{seconds:.0f} s"

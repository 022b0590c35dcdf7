"""Several bundles at once: who gets which, and what happens to those that are taken out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from scipy.stats import binomtest

from cannabis_ml.serving.bundles import Served, ServedBundles, place_of
from cannabis_ml.serving.models import LoadedBundle

PIXELS = 1_000_000
PEOPLE = [f"person-{i}" for i in range(5_000)]


@pytest.fixture
def loaded_of(small_bundle, other_bundle):
    """Freshly loaded: the champion's and the challenger's."""
    return lambda: (LoadedBundle(small_bundle, PIXELS), LoadedBundle(other_bundle, PIXELS))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_shares_are_within_binomial_limits(loaded_of, share):
    champion, challenger = loaded_of()
    bundles = ServedBundles(Served(champion, challenger), share)
    by_challenger = sum(bundles.of(person) is challenger for person in PEOPLE)
    assert binomtest(by_challenger, len(PEOPLE), share).pvalue > 1e-3


def test_a_person_gets_the_same_bundle_from_every_process(loaded_of):
    processes = [ServedBundles(Served(*loaded_of()), 0.3) for _ in range(3)]
    for person in PEOPLE[:200]:
        assert len({bundles.of(person).id for bundles in processes}) == 1


def test_a_larger_share_takes_nobody_out(loaded_of):
    champion, challenger = loaded_of()
    few = ServedBundles(Served(champion, challenger), 0.1)
    more = ServedBundles(Served(champion, challenger), 0.3)
    had_it = [person for person in PEOPLE if few.of(person) is challenger]
    assert all(more.of(person) is challenger for person in had_it)


def test_each_challenger_draws_people_anew():
    first = [place_of(person, "one") < 0.5 for person in PEOPLE]
    second = [place_of(person, "two") < 0.5 for person in PEOPLE]
    both = sum(a and b for a, b in zip(first, second, strict=True))
    assert binomtest(both, len(PEOPLE), 0.25).pvalue > 1e-3


def test_people_without_a_pseudonym_get_the_champion(loaded_of):
    champion, challenger = loaded_of()
    assert ServedBundles(Served(champion, challenger), 1.0).of(None) is champion


def test_models_are_closed_when_the_last_request_ends(loaded_of, jpeg):
    champion, other = loaded_of()
    bundles = ServedBundles(Served(champion))
    champion.prepare(workers=1)
    with bundles.lent() as first, bundles.lent() as second:
        bundles.switch(Served(other))
        with bundles.lent() as third:
            assert (first, second, third) == (champion, champion, other)
        assert first.report(jpeg(), "tier2", "en").tier == "tier2"
        assert champion.opened == 2
        assert bundles.lent_now() == {champion.id: 2}
    assert champion.opened == 0
    assert bundles.lent_now() == {}


def test_models_that_nobody_has_are_closed_at_once(loaded_of):
    champion, other = loaded_of()
    bundles = ServedBundles(Served(champion))
    champion.prepare(workers=1)
    bundles.switch(Served(other, champion))
    assert champion.opened == 2
    bundles.switch(Served(other))
    assert champion.opened == 0


def test_golden_photos_are_answered_by_the_models_that_answer_later(loaded_of, jpeg, monkeypatch):
    champion, _ = loaded_of()
    opened = []
    predictor = champion.bundle.predictor

    def counted(*given, **more):
        opened.append(given)
        return predictor(*given, **more)

    monkeypatch.setattr(champion.bundle, "predictor", counted)
    assert champion.prepare(workers=2).passed
    with ThreadPoolExecutor(2) as threads:
        for tier in champion.tiers:
            list(threads.map(lambda _, t=tier: champion.report(jpeg(), t, "en"), range(8)))
    assert sorted(opened) == [("tier1",), ("tier2",)]


def test_answers_name_their_bundle(client_of, small_bundle, other_bundle, jpeg):
    client = client_of(challenger=other_bundle, challenger_share=0.5)
    found = {}
    for person in PEOPLE[:20]:
        for route in ("/v2/analyze", "/api/v1/classify", "/v2/analyze-mobile"):
            told = client.post(route, content=jpeg(), headers={"x-person": person})
            found.setdefault(person, set()).add(told.headers["x-bundle"])
        by_query = client.post(f"/api/v1/classify?person={person}", content=jpeg())
        found[person].add(by_query.json()["bundle"])
    assert all(len(ids) == 1 for ids in found.values())
    ids = {one.manifest.content_sha256 for one in (small_bundle, other_bundle)}
    assert set.union(*found.values()) == ids
    text = client.get("/metrics").text
    assert all(f'cannabis_ml_reports_total{{bundle="{one[:12]}"' in text for one in ids)

"""Whatever a stranger sends is taken as it should be, or refused with reasons and no trace."""

import json
import string
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cannabis_ml.errors import FeedbackRefusedError
from cannabis_ml.feedback.submission import Submission, read_submission
from cannabis_ml.taxonomy import Taxonomy

GOOD = {
    "key": "key-1",
    "person": "ann",
    "at": "2026-05-01T12:00:00Z",
    "photo_id": "a" * 64,
    "consent": True,
    "answered": {
        "bundle_id": "bundle-1",
        "tier": "tier1",
        "heads": {"product": {"label": "hash", "confidence": 0.9}},
    },
    "opinions": [{"head": "product", "verdict": "corrected", "label": "trim", "confidence": 0.7}],
    "device": "Pixel 8",
    "region": "US-CA",
    "metadata": {"strain": "Zkittlez", "plants": 3, "indoor": True},
}
SQL = "'; DROP TABLE opinions; --"
HTML = "<script>alert(1)</script>"
TRAVERSAL = "../../../../etc/passwd"
LONG = "x" * 10_000_000


def with_field(path, value):
    """The good submission with one field replaced: `with_field("opinions.0.label", …)`."""
    changed = json.loads(json.dumps(GOOD))
    at = changed
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        at = at[part]
    at[last] = value
    return changed


def reasons(submission):
    with pytest.raises(FeedbackRefusedError) as caught:
        read_submission(submission)
    return caught.value.reasons


def test_the_good_submission_is_taken():
    assert read_submission(GOOD) == read_submission(json.dumps(GOOD))


IDENTIFIERS = ("key", "person", "answered.bundle_id", "answered.tier")


@pytest.mark.parametrize("field", IDENTIFIERS)
@pytest.mark.parametrize("value", [SQL, HTML, TRAVERSAL, "", "a b", "ä", "a\0", "a\n", ".."])
def test_an_identifier_is_letters_digits_and_a_few_signs(field, value):
    (reason,) = reasons(with_field(field, value))
    assert reason.startswith(f"{field}: ")


@pytest.mark.parametrize("field", ["opinions.0.head", "opinions.0.label"])
@pytest.mark.parametrize("value", [SQL, HTML, "a\0b", "a\u202eb", "  ", "\ud800", 'a"b', "a\\b"])
def test_a_name_holds_no_markup_quotes_or_control_characters(field, value):
    assert reasons(with_field(field, value))


@pytest.mark.parametrize(
    "value", ["A+", "Apple___Black_rot", "Corn_(maize)", "Grower's", "Blüte 花"]
)
def test_names_of_real_classes_are_taken(value):
    assert read_submission(with_field("opinions.0.label", value)).opinions[0].label == value


@pytest.mark.parametrize("value", [SQL, "O'Brien; --", "../x", "naïve 花 🌱\nline"])
def test_free_text_is_kept_as_it_is_unless_it_is_markup(value):
    assert read_submission(with_field("metadata.strain", value)).metadata["strain"] == value
    assert any("must not hold '<'" in each for each in reasons(with_field("metadata.strain", HTML)))


@pytest.mark.parametrize("value", [TRAVERSAL, "A" * 64, "a" * 63, "a" * 65, "g" * 64])
def test_a_photos_id_is_a_hash(value):
    (reason,) = reasons(with_field("photo_id", value))
    assert reason.startswith("photo_id: ")


@pytest.mark.parametrize("field", ["opinions.0.confidence", "answered.heads.product.confidence"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1, "0.5", True, 1e400])
def test_a_confidence_is_a_number_from_0_to_1(field, value):
    assert any(field in reason for reason in reasons(with_field(field, value)))


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_json_that_is_not_a_number_is_no_confidence(token):
    text = json.dumps(with_field("opinions.0.confidence", 0.123)).replace("0.123", token)
    assert reasons(text)


EVERY_TEXT = (
    *IDENTIFIERS, "at", "photo_id", "opinions.0.head", "opinions.0.label", "opinions.0.verdict",
    "device", "region", "metadata.strain", "annotator",
)  # fmt: skip


@pytest.mark.parametrize("field", EVERY_TEXT)
def test_ten_megabytes_in_any_field_are_refused_in_few_words(field):
    found = reasons(with_field(field, LONG))
    assert found
    assert sum(map(len, found)) < 1000


def test_ten_megabytes_of_json_are_refused_unread():
    (reason,) = reasons(json.dumps(with_field("metadata.strain", LONG)))
    assert "bytes are more than the 262,144 allowed" in reason


def test_many_faults_are_counted_not_listed():
    opinions = [{"head": f"h{n}", "verdict": "wrong"} for n in range(60)]
    found = reasons({**GOOD, "opinions": opinions})
    assert len(found) == 11
    assert found[-1] == "and 50 more"


def test_names_of_fields_that_strangers_made_up_are_not_repeated_at_length():
    found = reasons({**GOOD, HTML * 100: 1})
    assert all("<" not in reason and len(reason) < 200 for reason in found)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"at": "2026-05-01T12:00:00"}, "timezone"),
        ({"at": "1970-01-01T00:00:00Z"}, "is before 2000"),
        ({"surplus": 1}, "Extra inputs"),
        ({"opinions": [], "answered": None}, "neither an answer nor an opinion"),
        ({"opinions": GOOD["opinions"] * 2}, "two opinions on 'product'"),
        ({"consent": "yes"}, "valid boolean"),
        ({"metadata": {f"k{n}": 1 for n in range(33)}}, "at most 32"),
        ({"metadata": {"deep": {"a": 1}}}, "metadata.deep"),
    ],
)
def test_what_is_wrong_is_named(changes, reason):
    assert any(reason in found for found in reasons({**GOOD, **changes}))


@pytest.mark.parametrize(
    ("opinion", "reason"),
    [
        ({"verdict": "corrected"}, "'corrected' needs a label"),
        ({"verdict": "unsure", "label": "trim"}, "'unsure' has no label"),
        ({"verdict": "proposed", "label": ["a"]}, "one name, not a list"),
        ({"verdict": "corrected", "label": "hash"}, "is corrected to what was answered"),
        ({"verdict": "confirmed", "label": "trim"}, "with another label than the answered one"),
        ({"verdict": "confirmed", "head": "grade"}, "is confirmed, but was not answered"),
    ],
)
def test_an_opinion_that_contradicts_itself_is_refused(opinion, reason):
    found = reasons({**GOOD, "opinions": [{"head": "product"} | opinion]})
    assert any(reason in each for each in found)


TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "product", "classes": ["hash", "trim"]},
            {"name": "look", "kind": "multilabel", "classes": ["sticky", "frosty"]},
        ]
    }
)


@pytest.mark.parametrize(
    ("opinion", "reason"),
    [
        (("color", "corrected", "trim"), "'color' is not a head; heads are product, look"),
        (("product", "corrected", "kief"), "'kief' is not a class of 'product'"),
        (("product", "proposed", "trim"), "'trim' is a class of 'product' already"),
        (("product", "corrected", ["trim"]), "must be one class"),
        (("look", "corrected", "sticky"), "must be a list"),
        (("look", "corrected", ["sticky", "wet"]), "'wet' is not a class of 'look'"),
    ],
)
def test_with_a_taxonomy_heads_and_classes_must_be_in_it(opinion, reason):
    given = dict(zip(("head", "verdict", "label"), opinion, strict=True))
    submission = {**GOOD, "opinions": [given], "answered": None}
    read_submission(submission)
    with pytest.raises(FeedbackRefusedError, match=reason):
        read_submission(submission, TAXONOMY)


def test_with_a_taxonomy_its_own_classes_are_taken():
    opinions = [
        {"head": "product", "verdict": "proposed", "label": "kief"},
        {"head": "look", "verdict": "corrected", "label": []},
    ]
    assert read_submission({**GOOD, "opinions": opinions}, TAXONOMY).opinions


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def outcome(given):
    """A submission, or the reasons: never another error, never none."""
    try:
        return read_submission(given)
    except FeedbackRefusedError as error:
        return error.reasons


@given(json_values)
def test_any_json_is_read_or_refused_with_reasons(value):
    assert outcome(json.dumps(value))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_reasons(data):
    with pytest.raises(FeedbackRefusedError):
        read_submission(data)


@given(st.sampled_from(EVERY_TEXT), json_values)
def test_any_value_in_any_field_is_read_or_refused_with_reasons(field, value):
    assert outcome(with_field(field, value))


text = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<>"), max_size=90)
names = st.text(string.ascii_letters + "äß花 +()'_", min_size=1, max_size=50).filter(str.strip)
share = st.none() | st.floats(0, 1)
opinions = st.one_of(
    st.fixed_dictionaries({"verdict": st.sampled_from(["unsure", "none_of_these"])}),
    st.fixed_dictionaries(
        {"verdict": st.just("corrected"), "label": names | st.lists(names, max_size=4)}
    ),
    st.fixed_dictionaries({"verdict": st.just("proposed"), "label": names}),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(
    by_head=st.dictionaries(names, opinions, min_size=1, max_size=4),
    confidence=share,
    metadata=st.dictionaries(text, text | st.booleans() | st.integers(-9, 9), max_size=3),
    at=st.datetimes(datetime(2001, 1, 1), datetime(2026, 4, 1), timezones=st.just(UTC)),
)
def test_whatever_is_taken_comes_back_as_it_was(store, submit, by_head, confidence, metadata, at):
    given = [{"head": h, "confidence": confidence} | o for h, o in by_head.items()]
    submission = submit(
        opinions=given, metadata=metadata, at=at.isoformat(), photo_id="b" * 64, consent=False
    )
    # A person of its own, and so a history of its own.
    submission = Submission.model_validate(submission.model_dump() | {"person": submission.key})
    store.add(submission)
    table = store.opinions()
    own = table[table["person"] == submission.key].set_index("head")
    assert set(own.index) == {opinion.head for opinion in submission.opinions}
    for opinion in submission.opinions:
        row = own.loc[opinion.head]
        label = sorted(opinion.label) if isinstance(opinion.label, list) else opinion.label
        assert (row["verdict"], row["label"]) == (opinion.verdict, label)
        assert row["confidence"] == confidence or (confidence is None and row["confidence"] != 0)
    assert (own["at"] == submission.at).all()

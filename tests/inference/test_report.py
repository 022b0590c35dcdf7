"""Reports: answers with confidence and recommendations. Outputs are written here, not computed."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from cannabis_ml.errors import ConfigError
from cannabis_ml.inference import Bundle
from cannabis_ml.inference.calibrators import Affine, Platt, Uncalibrated
from cannabis_ml.inference.cards import FileCard
from cannabis_ml.inference.decision import Decision, DecisionRule
from cannabis_ml.inference.predictor import Predictor
from cannabis_ml.inference.reliability import Reliability, TierRules
from cannabis_ml.inference.report import Report, ReportSettings
from cannabis_ml.inference.reporter import Reporter
from cannabis_ml.inference.unknown import UnknownScore
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "plant", "classes": ["tomato", "potato", "bell_pepper", "corn", "pot"]},
            {
                "name": "condition",
                "classes": ["healthy", "early_blight", "late_blight", "rust"],
                "parent": "plant",
                "allowed": {
                    "tomato": ["healthy", "early_blight", "late_blight"],
                    "potato": ["healthy", "late_blight"],
                    "bell_pepper": ["healthy"],
                    "corn": ["healthy", "rust"],
                },
            },
            {"name": "grade", "kind": "ordinal", "classes": ["A", "B", "C"]},
            {"name": "marks", "kind": "multilabel", "classes": ["hole", "spot", "curl"]},
        ],
        "names": {"es": {"plant": "planta", "tomato": "tomate", "condition": "estado"}},
    }
)
NONE = {head.name: Uncalibrated() for head in TAXONOMY.heads}

OUTPUTS = {
    "plant": [0.92, 0.04, 0.02, 0.016, 0.004],
    "condition": [0.3, 0.5, 0.15, 0.05],
    "grade": [0.2, 0.7, 0.1],
    "marks": [0.95, 0.4, 0.02],
    "embedding": [0.0, 0.0],
}

PHOTO = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)


class Written(Predictor):
    """Gives outputs that a test wrote down."""

    format, runtime, largest_batch = "onnx", "onnxruntime", 1

    def __init__(self, outputs, rule):
        self._outputs = outputs
        super().__init__(FileCard(taxonomy=TAXONOMY, image_size=16, decision=rule), "tier1")

    @property
    def output_shapes(self):
        return {name: np.shape(values) for name, values in self._outputs.items()}

    def invoke(self, pixels):
        return {name: np.float32([values]) for name, values in self._outputs.items()}


def report(
    *,
    photo=PHOTO,
    calibrators=None,
    reliability=None,
    unknown=None,
    settings=None,
    asked=None,
    **given,
) -> Report:
    """The report on outputs, some of them other than `OUTPUTS`."""
    rule = DecisionRule(calibrators=NONE if calibrators is None else calibrators)
    parts = Reliability.model_validate(reliability or {})
    reporter = Reporter(
        Written({**OUTPUTS, **given}, rule),
        TierRules(Decision(TAXONOMY, rule), parts, unknown),
        settings,
    )
    return reporter.report(photo, **(asked or {}))


def text(found):
    return "\n".join(found.in_words())


# Levels


def confident(p):
    return [p, 1 - p, 0, 0, 0]


@pytest.mark.parametrize(
    ("confidence", "level"),
    [
        (0.95, "reliable"),
        (0.9000001, "reliable"),
        (0.89, "likely"),
        (0.7500001, "likely"),
        (0.74, "retake"),
        (0.6000001, "retake"),
        (0.59, "unreliable"),
    ],
)
def test_the_recommendation_follows_the_confidence(confidence, level):
    assert report(plant=confident(confidence))["plant"].level == level


def test_levels_are_configurable():
    settings = ReportSettings(reliable=0.99, likely=0.97, retake=0.95)
    assert report(plant=confident(0.98), settings=settings)["plant"].level == "likely"
    with pytest.raises(ValidationError, match="they must fall"):
        ReportSettings(reliable=0.7)


def test_levels_are_compared_with_calibrated_confidence_alone():
    """sigmoid(0.5 * logit(0.95)) = sqrt(19) / (1 + sqrt(19)) = 0.8134: likely, not reliable."""
    calibrators = {**NONE, "plant": Platt(slope=0.5, shift=0.0)}
    found = report(plant=confident(0.95), calibrators=calibrators)["plant"]
    assert found.confidence == pytest.approx(19**0.5 / (1 + 19**0.5), abs=1e-6)
    assert found.raw_confidence == pytest.approx(0.95)
    assert (found.is_calibrated, found.level) == (True, "likely")


def test_without_a_calibrator_nothing_is_recommended_and_the_reason_reported():
    found = report(calibrators={"plant": Uncalibrated()})
    assert found["plant"].level == "reliable"
    assert (found["grade"].is_calibrated, found["grade"].level) == (False, None)
    assert found["grade"].confidence == pytest.approx(0.7)
    assert {one.level for one in found["marks"].attributes} == {None}
    assert found.missing["calibration"] == ["condition", "grade", "marks"]
    said = text(found)
    assert "Score 70%. It is not calibrated" in said
    assert "calibrated confidence, and with it recommendations (condition, grade, marks)" in said


# What stands beside the answer


def test_three_alternatives_without_the_answer_the_likeliest_first():
    found = report()["plant"]
    assert [name for name, _ in found.alternatives] == ["potato", "bell_pepper", "corn"]
    assert [p for _, p in found.alternatives] == pytest.approx([0.04, 0.02, 0.016])
    assert "Alternatives: potato 4%, bell pepper 2%, corn 2%." in text(report())


def test_alternatives_of_next_to_no_probability_are_not_read_out():
    found = report(plant=[0.997, 0.003, 0, 0, 0], grade=[1, 0, 0])
    assert len(found["plant"].alternatives) == 3
    assert "Alternatives: potato" not in text(found)


BAND = {
    "level": 0.95,
    "low": [0, 0, 0.6, 0.7, 0.84],
    "high": [1, 1, 0.8, 0.9, 1],
    "photos": [0, 0, 9, 1, 57],
}


def test_the_band_is_that_of_the_confidence_and_names_the_photos_it_stands_on():
    """At 0.92, of 0.75 to 1 it lies 0.68 of the way: 0.7 + 0.68 * 0.14 = 0.7952, 0.9 + 0.068."""
    found = report(reliability={"bands": {"plant": BAND}})
    band = found["plant"].band
    assert (band.low, band.high) == pytest.approx((0.7952, 0.968), abs=1e-5)
    assert (band.level, band.photos) == (0.95, 57)
    assert (
        "Of 100 answers with this confidence, 79 to 97 are right (95% band, from 57 photos with"
        " known answers)." in text(found)
    )
    assert found["grade"].band is None
    assert found.missing["bands"] == ["condition", "grade", "marks"]


def test_a_band_from_one_photo_is_in_the_singular_and_from_none_is_not_a_number():
    one = report(reliability={"bands": {"plant": BAND}}, plant=confident(0.8))
    assert "from 1 photo with a known answer" in text(one)
    none = report(reliability={"bands": {"condition": BAND}}, condition=[0.2, 0.35, 0.2, 0.25])
    assert none["condition"].band.photos == 0
    assert "No photo with a known answer had a confidence near this" in text(none)


def sets(**heads):
    made = {}
    for name, limits in heads.items():
        kind = TAXONOMY[name].kind
        made[name] = {"kind": kind, "alpha": 0.1, "limits": limits, "groups": [40] * len(limits)}
        if kind == "multilabel":
            made[name] |= {"absent_limits": limits, "absent_groups": [40] * len(limits)}
    return {"sets": {"heads": made}}


def test_the_prediction_set_is_named_with_what_it_promises():
    """1 - P at most 0.97: P of at least 0.03, so tomato and potato."""
    found = report(reliability=sets(plant=[0.97] * 5))
    assert found["plant"].possible == ["tomato", "potato"]
    assert found["plant"].coverage == pytest.approx(0.9)
    assert (
        "Still possible: tomato, potato. Such a list holds the right answer for 90 of 100 photos."
        in text(found)
    )
    assert found["grade"].possible is None


def test_classes_that_no_set_excludes_are_named():
    found = report(reliability=sets(plant=[0.97, 0.97, 0.97, 0.97, None]))
    assert found["plant"].unlimited == ["pot"]
    assert "every list holds pot" in text(found)


def test_attributes_are_present_absent_or_unsure_by_their_sets():
    """Nonconformity is 1 - P, of absent P. At most 0.7: spot, of 0.6 and 0.4, may be either."""
    found = report(reliability=sets(marks=[0.7] * 3))["marks"]
    assert found.in_state("present") == ["hole"]
    assert found.in_state("unsure") == ["spot"]
    assert found.in_state("absent") == ["curl"]
    assert [one.probability for one in found.attributes] == pytest.approx([0.95, 0.4, 0.02])
    assert [one.confidence for one in found.attributes] == pytest.approx([0.95, 0.6, 0.98])
    assert [one.level for one in found.attributes] == ["reliable", "retake", "reliable"]


def test_without_sets_attributes_are_as_decided():
    found = report()["marks"]
    assert found.in_state("present") == ["hole"]
    assert found.in_state("absent") == ["spot", "curl"]


def test_an_attribute_that_is_claimed_though_unlikely_is_unsure():
    rule = DecisionRule(calibrators=NONE, thresholds={"marks": {"spot": 0.3}})
    reporter = Reporter(Written(OUTPUTS, rule))
    found = reporter.report(PHOTO)["marks"]
    assert found.decided == ["hole", "spot"]
    assert (found.in_state("present"), found.in_state("unsure")) == (["hole"], ["spot"])


def test_attributes_are_read_out_with_how_sure_they_are_and_doubtful_ones_are_named():
    said = text(report(reliability=sets(marks=[0.7] * 3)))
    assert "Present: hole 95%." in said
    assert "Unsure: spot 40%." in said
    assert "Absent: curl 98%." in said
    assert "Check 1 attribute yourself, with a confidence below 75%: spot." in said
    assert "Every attribute has a confidence of 75% or more." in text(report(marks=[0.9, 0.1, 0]))


def test_the_band_of_an_attribute_is_around_the_probability_that_it_is_there():
    found = report(reliability={"bands": {"marks": BAND}}, marks=[0.75, 0.25, 0.5])["marks"]
    assert [(one.band.low, one.band.high) for one in found.attributes] == [
        (0.7, 0.9),
        (0, 1),
        (0.5, 0.8),  # the band's lower end is above: it holds the probability itself
    ]


def test_reported_attributes_are_calibrated():
    affine = Affine(slopes=(1.0, 1.0, 1.0), shifts=(0.0, float(np.log(6)), 0.0))
    found = report(calibrators={**NONE, "marks": affine})["marks"]
    spot = found.attributes[1]  # odds of 2/3, times 6
    assert (spot.probability, spot.raw_probability) == pytest.approx((0.8, 0.4))


def test_an_ordinal_answer_is_reported_with_what_it_stands_on():
    said = text(report(grade=[0.45, 0.25, 0.3]))
    assert "grade: B" in said
    assert "B or better: 70%." in said
    assert "Confidence 25% (before calibration 25%)." in said


def test_a_confidence_below_a_level_does_not_look_as_high():
    said = text(report(plant=confident(0.899)))
    assert "Likely right." in said
    assert "Confidence 89% (before calibration 89%)." in said


# Back-off


def chain(threshold, groups=400):
    rule = {
        "heads": ["plant", "condition"],
        "threshold": threshold,
        "alpha": 0.05,
        "groups": groups,
    }
    return {"back_off": [rule]}


def test_where_the_child_is_unsure_the_parent_answers():
    found = report(reliability=chain(0.8))
    assert (found["plant"].backed_off, found["condition"].backed_off) == (False, True)
    assert (found["plant"].answer, found["condition"].answer) == ("tomato", None)
    assert found["condition"].decided == "early_blight"
    assert found["condition"].level == "unsure"
    assert found["grade"].backed_off is None
    assert found.summary == "tomato, condition unsure, grade B"
    assert "condition: unsure (best guess: early blight)" in text(found)


def test_where_both_are_sure_both_answer():
    found = report(reliability=chain(0.4))
    assert found.summary == "tomato, early blight, grade B"
    assert found["condition"].level == "unreliable"


def test_where_neither_is_sure_neither_answers():
    found = report(reliability=chain(0.95))
    assert found.summary == "plant unsure, condition unsure, grade B"


def test_a_class_that_has_no_child_is_not_called_unsure():
    found = report(plant=[0, 0, 0, 0.02, 0.98], reliability=chain(0.9))
    assert found["condition"].decided is None
    assert found["condition"].backed_off is False
    assert "condition: does not apply to pot" in text(found)
    unsure = report(plant=[0.1, 0.1, 0.1, 0.1, 0.6], reliability=chain(0.99))
    assert unsure["condition"].backed_off is (unsure["condition"].decided is None) is True


def test_a_rule_without_threshold_withholds_nothing_and_the_report_reports_it():
    found = report(reliability=chain(None, groups=7))
    assert found["condition"].answer == "early_blight"
    assert found["condition"].backed_off is None
    assert "No answer is withheld in plant, condition: with 7 groups" in text(found)
    assert "with 1 group of" in text(report(reliability=chain(None, groups=1)))


# The photo


def unknown_above(threshold, kept=0.95):
    return UnknownScore("max_probability", "plant", threshold=threshold, kept=kept)


def test_an_unknown_photo_is_reported_without_changing_its_confidence():
    known = report(unknown=unknown_above(-0.5))
    assert (known.unknown.is_unknown, known["plant"].level) == (False, "reliable")
    assert "The photo is like those that the model learned from." in text(known)
    odd = report(unknown=unknown_above(-0.99))
    assert odd.unknown.is_unknown
    assert odd.unknown.score == pytest.approx(-0.92)
    assert odd["plant"].confidence == known["plant"].confidence
    assert {head.level for head in odd.heads.values() if not head.attributes} == {"unknown"}
    assert {one.level for one in odd["marks"].attributes} == {"unknown"}
    assert "Of 100 photos that are like them, 5 are flagged so by mistake." in text(odd)


def test_a_score_without_threshold_is_not_reported():
    found = report(unknown=unknown_above(np.inf, kept=None))
    assert found.unknown is None
    assert "unknown" in found.missing


def test_the_reason_is_named_where_it_is_the_photo():
    dark = np.random.default_rng(0).integers(0, 20, (64, 64, 3), dtype=np.uint8)
    found = report(photo=dark, plant=confident(0.7))
    assert [fault.name for fault in found.photo_faults] == ["dark"]
    lines = [line.strip() for line in found.in_words()]
    assert "Consider taking another photo. The photo is too dark: find more light." in lines
    fine = report(plant=confident(0.7))
    assert fine.photo_faults == []
    assert "Nothing was found wrong with the photo itself" in text(fine)


def test_a_sure_answer_needs_no_reason():
    dark = np.random.default_rng(0).integers(0, 20, (64, 64, 3), dtype=np.uint8)
    lines = [line.strip() for line in report(photo=dark).in_words()]
    assert lines.count("Reliable.") == 1
    assert "The photo is too dark: find more light." in lines


def test_a_heat_map_is_drawn_where_it_is_asked_for():
    attention = [[0.2, 0.4], [0.4, 0.6]]
    assert report(attention=attention).heat_map is None
    found = report(attention=attention, asked={"heat_map": "attention"})
    assert found.heat_map.image.size == (80, 64)
    assert "up to 1.5 times the average" in found.in_words("leaf.jpg", "maps/leaf.png")[-2]
    without = report(asked={"heat_map": "attention"})
    assert without.heat_map is None
    assert "the model file of tier1 gives none" in without.in_words("leaf.jpg", "maps/leaf.png")[-2]
    even = report(attention=[[0.5, 0.5]], asked={"heat_map": "attention"})
    assert "nearly alike" in even.in_words("leaf.jpg", "maps/leaf.png")[-2]


def test_a_heat_map_by_occlusion_is_of_the_answers_that_were_given(written, photos):
    """Of a model that sees mean colors alone, what is blurred hardly matters."""
    even = report(asked={"heat_map": "occlusion"})
    assert (even.heat_map.kind, even.heat_map.most) == ("occlusion", 0)
    assert "no single part of the photo decides" in even.in_words("a.jpg", "a.png")[-2]
    photo = photos(1)[0]
    found = Bundle.open(written).report(photo, heat_map=True)
    assert found.heat_map.kind == "occlusion"
    assert found.heat_map.image.size == photo.shape[1::-1]


def test_points_of_probability_are_counted_in_words():
    found = report(asked={"heat_map": "occlusion"})
    for most, said in (
        (0.01, "no single part"),
        (0.214, "up to 21 percentage points. What is blue"),
    ):
        found.heat_map = replace(found.heat_map, most=most)
        assert said in found.in_words("a.jpg", "a.png")[-2]


# The whole


def test_a_report_is_an_answer():
    predictor = Written(OUTPUTS, DecisionRule(calibrators=NONE))
    answer, found = predictor.predict(PHOTO), Reporter(predictor).report(PHOTO)
    assert list(found) == list(answer)
    for name, head in answer.items():
        np.testing.assert_array_equal(found[name].probs, head.probs)
        assert found[name].decided == head.decided
    assert (found.tier, found.runtime) == (answer.tier, answer.runtime)


def test_what_a_bundle_does_not_hold_is_named_and_left_out():
    found = report()
    every = list(TAXONOMY.model_dump()["heads"])
    names = [head["name"] for head in every]
    assert found.missing == {"bands": names, "sets": names, "back_off": [], "unknown": []}
    assert text(found).endswith(
        "the report leaves out: confidence bands; prediction sets; back-off to a more general"
        " answer; a check for photos unlike any in training."
    )
    whole = report(
        reliability={
            "bands": {head.name: BAND for head in TAXONOMY.heads},
            **sets(plant=[0.9] * 5, condition=[0.9] * 4, grade=[0.9] * 3, marks=[0.9] * 3),
            **chain(0.5),
        },
        unknown=unknown_above(0.0),
    )
    assert whole.missing == {}


def test_the_same_facts_in_spanish():
    given = {"reliability": {"bands": {"plant": BAND}, **chain(0.8)}, "plant": confident(0.8)}
    said = text(report(**given, asked={"language": "es"}))
    assert said.startswith("tomate, estado: sin determinar, grade B")
    assert "planta: tomate" in said
    assert "(lo más probable: early blight)" in said  # as it is, where there is no name for it
    assert "Confianza: 80\u00a0% (antes de calibrar: 80\u00a0%)." in said
    assert "(banda del 95\u00a0%, según 1 foto de respuesta conocida)" in said
    assert "Probablemente correcta." in said
    english = report(**given).as_json()
    spanish = report(**given, asked={"language": "es"}).as_json()
    assert english["heads"]["plant"]["confidence"] == spanish["heads"]["plant"]["confidence"]
    assert {english["language"], spanish["language"]} == {"en", "es"}


def test_a_language_that_is_not_there_is_refused_before_the_model_is_asked():
    with pytest.raises(ConfigError, match="no texts in 'tlh'"):
        report(photo="no such file", asked={"language": "tlh"})


def test_a_bundle_reports_with_its_own_parts(written, small, photos):
    bundle = Bundle.open(written)
    found = bundle.report(photos(1)[0])
    assert isinstance(found, Report)
    assert found.tier == "tier1"
    assert found.unknown is not None
    assert found["kind.of thing"].band.level == 0.95
    assert found["grade"].coverage == pytest.approx(0.9)
    assert found["grade"].backed_off is not None
    other = bundle.report(photos(1)[0], tier="tier2", language="es")
    assert (other.tier, other.language) == ("tier2", "es")
    assert set(other.missing) == {"calibration", "bands", "sets", "unknown"}


def test_it_prints(capsys):
    print(report())
    assert capsys.readouterr().out.startswith("tomato, early blight, grade B (answered by tier1,")
    assert repr(report()).startswith("Report(tomato, early blight, grade B, tier='tier1'")


def test_it_is_json():
    found = json.loads(json.dumps(report().as_json("leaf.jpg")))
    assert found["photo"] == "leaf.jpg"
    assert found["heads"]["plant"]["answer"] == "tomato"
    assert found["heads"]["plant"]["confidence"] == 0.92
    assert found["heads"]["plant"]["alternatives"][0] == {"class": "potato", "probability": 0.04}

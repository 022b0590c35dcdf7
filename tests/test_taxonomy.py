from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cannabis_ml.errors import TaxonomyError
from cannabis_ml.photo_sets.label_checks import check_labels
from cannabis_ml.taxonomy import MISSING, Head, Taxonomy
from cannabis_ml.taxonomy_spec import TaxonomySpec
from cannabis_ml.text import did_you_mean


def taxonomy(*heads):
    return Taxonomy.model_validate({"heads": list(heads)})


TYPE = {"name": "type", "classes": ["plant", "dry_flower"]}
GRADE = {"name": "grade", "kind": "ordinal", "classes": ["A+", "A", "F"]}
LOOK = {"name": "look", "kind": "multilabel", "classes": ["mould", "seeds"]}


@pytest.fixture(scope="module")
def default_spec():
    project = Path(__file__).parents[1]
    text = (project / "conf/base/parameters_taxonomy.yml").read_text()
    return TaxonomySpec.model_validate(yaml.safe_load(text)["taxonomy"])


def test_default_taxonomy_is_what_the_product_promises(default_spec):
    default = default_spec.resolve(pd.DataFrame())
    kinds = {head.name: (head.kind, len(head.classes)) for head in default.heads}
    assert kinds == {
        "product_type": ("multiclass", 5),
        "quality_grade": ("ordinal", 5),
        "appearance": ("multilabel", 10),
    }
    assert default["product_type"].class_names == ["plant", "dry_flower", "trim", "hash", "extract"]
    assert default["quality_grade"].class_names == ["A+", "A", "B", "C", "F"]


def test_every_default_class_describes_what_the_eye_sees(default_spec):
    silent = [c.name for head in default_spec.heads for c in head.classes if len(c.about) < 15]
    assert silent == []


def test_all_faults_are_reported_in_one_error():
    with pytest.raises(TaxonomyError) as told:
        taxonomy(
            {"name": "a", "classes": ["x", "y", "x"]},
            {"name": "b", "classes": []},
            {"name": "c", "classes": ["u", "v"], "parent": "nobody"},
            {"name": "a", "classes": ["p", "q"]},
        )
    message = str(told.value)
    assert "4 faults" in message
    for fault in (
        "head 'a' is written 2 times",
        "head 'a' has class 'x' 2 times",
        "head 'b' has no classes",
        "head 'c' has the unknown parent 'nobody'",
    ):
        assert fault in message


@pytest.mark.parametrize(
    ("head", "fault"),
    [
        ({"name": "h", "classes": ["only"]}, "single class 'only'"),
        ({"name": "h", "classes": ["a", "b"], "parent": "h"}, "among its own parents"),
        ({"name": "h", "classes": ["a", "b"], "allowed": {"plant": ["a"]}}, "no parent"),
        (
            {"name": "h", "classes": ["a", "b"], "parent": "type", "allowed": {"leaf": ["a"]}},
            "allows for 'leaf', no class of 'type'",
        ),
        (
            {"name": "h", "classes": ["a", "b"], "parent": "type", "allowed": {"plant": ["z"]}},
            "allows 'z' for 'plant'",
        ),
        ({"name": "h", "classes": ["a", "b"], "parent": "look"}, "multilabel parent"),
    ],
)
def test_a_fault_is_named(head, fault):
    with pytest.raises(TaxonomyError, match=fault):
        taxonomy(TYPE, LOOK, head)


def test_circle_of_parents_is_found():
    with pytest.raises(TaxonomyError, match="among its own parents"):
        taxonomy(
            {"name": "a", "classes": ["x", "y"], "parent": "b"},
            {"name": "b", "classes": ["x", "y"], "parent": "a"},
        )


def test_classes_are_derived_from_labels_in_order_of_name():
    spec = TaxonomySpec.model_validate({"heads": [{"name": "label"}]})
    resolved = spec.resolve(pd.DataFrame({"label": ["rust", "healthy", None, "rust"]}))
    assert resolved["label"].class_names == ["healthy", "rust"]


def test_derived_child_is_limited_to_the_pairs_that_occur():
    spec = TaxonomySpec.model_validate(
        {"heads": [{"name": "species"}, {"name": "condition", "parent": "species"}]}
    )
    photos = pd.DataFrame(
        {
            "species": ["apple", "apple", "corn", "nothing"],
            "condition": ["scab", "healthy", "healthy", None],
        }
    )
    assert spec.resolve(photos)["condition"].allowed == {
        "apple": ["healthy", "scab"],
        "corn": ["healthy"],
        "nothing": [],
    }


@pytest.mark.parametrize(("labels", "found"), [(["one", "one"], "only 'one'"), ([None], "none")])
def test_too_few_derived_classes_are_refused(labels, found):
    spec = TaxonomySpec.model_validate({"heads": [{"name": "label"}]})
    with pytest.raises(TaxonomyError, match=f"needs at least two classes, the labels have {found}"):
        spec.resolve(pd.DataFrame({"label": labels}))


def test_ordinal_classes_cannot_be_derived():
    with pytest.raises(TaxonomyError, match="write its classes"):
        TaxonomySpec.model_validate({"heads": [{"name": "grade", "kind": "ordinal"}]})


def test_unknown_labels_are_listed_with_count_and_nearest_class():
    photos = pd.DataFrame({"type": ["Dry Flower"] * 3 + ["kief", "plant", None]})
    with pytest.raises(TaxonomyError) as told:
        check_labels(photos, taxonomy(TYPE), "labels.csv")
    message = str(told.value)
    assert "2 labels in labels.csv are not in the taxonomy" in message
    assert "'Dry Flower' (3 photos; did you mean 'dry_flower'?)" in message
    assert "'kief' (1 photo)" in message


def test_known_and_missing_labels_pass():
    check_labels(pd.DataFrame({"type": ["plant", None]}), taxonomy(TYPE, LOOK))


def test_unknown_labels_are_counted_by_source():
    photos = pd.DataFrame({"type": ["kief", "Plant", "kief", "kief", "plant"]})
    sources = pd.Series(["shop", "field", "field", "shop", "field"])
    with pytest.raises(TaxonomyError) as told:
        check_labels(photos, taxonomy(TYPE), "two sources", sources)
    assert "'kief' (3 photos: 2 of shop, 1 of field)" in str(told.value)
    assert "'Plant' (1 photo of field; did you mean 'plant'?)" in str(told.value)


def test_pairs_that_the_taxonomy_does_not_allow_are_refused():
    part = {"name": "part", "classes": ["leaf", "bud"], "parent": "type"}
    part["allowed"] = {"plant": ["leaf"], "dry_flower": ["bud"]}
    photos = pd.DataFrame(
        {
            "type": ["plant", "plant", "dry_flower", "plant", None],
            "part": ["leaf", "bud", "bud", "bud", "bud"],
        }
    )
    with pytest.raises(TaxonomyError, match=r"part: 'bud' where type is 'plant' \(2 photos\)"):
        check_labels(photos, taxonomy(TYPE, part))
    check_labels(photos[photos["part"] == "leaf"], taxonomy(TYPE, part))


def test_nothing_near_is_not_guessed():
    assert did_you_mean("kief", ["plant", "dry_flower"]) == ""


def test_labels_are_encoded_with_unknown_kept_apart():
    photos = pd.DataFrame(
        {
            "type": ["dry_flower", None],
            "grade": ["F", "A+"],
            "look.mould": pd.array([1, None], dtype="Int8"),
            "look.seeds": pd.array([0, 1], dtype="Int8"),
        }
    )
    encoded = taxonomy(TYPE, GRADE, LOOK).encode(photos)
    assert encoded["type"].tolist() == [1, MISSING]
    assert encoded["grade"].tolist() == [2, 0]
    np.testing.assert_array_equal(encoded["look"], [[1, 0], [np.nan, 1]])
    assert encoded["look"].dtype == np.float32


def test_hash_follows_classes_and_not_words():
    worded = {**TYPE, "about": "What is it", "classes": [{"plant": "green"}, {"dry_flower": ""}]}
    turned = {**TYPE, "classes": ["dry_flower", "plant"]}
    assert taxonomy(TYPE).sha256 == taxonomy(worded).sha256
    assert taxonomy(TYPE).sha256 != taxonomy(turned).sha256


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=2, max_size=6, unique=True))
def test_taxonomy_survives_json(names):
    made = taxonomy({"name": "head", "classes": [{"name": n} for n in names]})
    assert Taxonomy.model_validate_json(made.model_dump_json()) == made


def test_multiclass_answer_is_the_most_probable_class():
    head = taxonomy(TYPE)["type"]
    assert head.answer(np.array([[0.4, 0.6], [0.9, 0.1]])).tolist() == [1, 0]


def test_ordinal_answer_is_the_median():
    head = taxonomy(GRADE)["grade"]
    # The extremes are most probable one by one, the middle is where half the mass is passed.
    probs = np.array([[0.4, 0.2, 0.4], [0.7, 0.2, 0.1], [0.0, 0.1, 0.9], [0.5, 0.0, 0.5]])
    assert head.answer(probs).tolist() == [1, 0, 2, 0]


@given(st.lists(st.floats(0.125, 1, width=32), min_size=3, max_size=3))
def test_ordinal_answer_is_always_a_class(weights):
    probs = np.array(weights, dtype=np.float32)
    assert 0 <= taxonomy(GRADE)["grade"].answer(probs / probs.sum()) <= 2


def test_derived_child_without_a_column_is_refused_in_words():
    spec = TaxonomySpec.model_validate(
        {"heads": [{"name": "species"}, {"name": "condition", "parent": "species"}]}
    )
    with pytest.raises(TaxonomyError, match="'condition' needs at least two classes"):
        spec.resolve(pd.DataFrame({"species": ["apple", "corn"]}))


def test_names_as_written_and_as_found_are_brought_to_one_form():
    spec = TaxonomySpec.model_validate(
        {
            "heads": [
                {"name": "gro\u0308ße", "classes": ["kla\u0308r ", "tru\u0308b"]},
                {
                    "name": "art",
                    "parent": "größe",
                    "allowed": {"klär": ["Ga\u0308nse"], "trüb ": ["Gänse", "pear"]},
                },
            ]
        }
    )
    photos = pd.DataFrame({"art": ["Gänse", "Ga\u0308nse", "pear ", None]}, dtype="str")
    found = spec.resolve(photos)
    assert found["größe"].class_names == ["klär", "trüb"]
    assert found["art"].class_names == ["Gänse", "pear"]
    assert found["art"].allowed == {"klär": ["Gänse"], "trüb": ["Gänse", "pear"]}


def test_derived_pairs_are_brought_to_one_form():
    spec = TaxonomySpec.model_validate(
        {"heads": [{"name": "species"}, {"name": "condition", "parent": "species"}]}
    )
    photos = pd.DataFrame({"species": ["ä", "a\u0308", "b"], "condition": ["x", "ö", "o\u0308 "]})
    assert spec.resolve(photos)["condition"].allowed == {"ä": ["x", "ö"], "b": ["ö"]}


def test_classes_that_become_one_name_are_refused():
    with pytest.raises(TaxonomyError, match="class 'Gänse' 2 times"):
        TaxonomySpec(heads=[{"name": "kind", "classes": ["Gänse", "Ga\u0308nse", "pear"]}])


def test_what_looks_the_same_is_meant():
    assert did_you_mean("leaf\u00a0spot\u200b", ["Leaf_Spot"]) == "; did you mean 'Leaf_Spot'?"


def test_which_photos_show_a_class_whatever_the_kind_of_head():
    taxonomy = Taxonomy.model_validate(
        {
            "heads": [
                {"name": "kind", "classes": ["leaf", "root"]},
                {"name": "grade", "kind": "ordinal", "classes": ["A", "B"]},
                {"name": "look", "kind": "multilabel", "classes": ["red", "shiny"]},
            ]
        }
    )
    photos = pd.DataFrame(
        {
            "kind": pd.Series(["leaf", None, "root"], dtype="str"),
            "grade": pd.Series(["B", "B", None], dtype="str"),
            "look.red": pd.array([1, 0, None], dtype="Int8"),
        }
    ).set_axis([5, 7, 9])
    kind, grade, look = taxonomy.heads
    assert kind.shows(photos, "leaf").tolist() == [True, False, False]
    assert grade.shows(photos, "B").tolist() == [True, True, False]
    red = look.shows(photos, "red")
    assert (red.tolist(), red.dtype, red.index.tolist()) == ([True, False, False], bool, [5, 7, 9])
    assert look.shows(photos, "shiny").tolist() == [False] * 3  # there is no column for it


def test_whether_one_photo_shows_a_class_or_nobody_knows():
    kind = Head(name="kind", classes=["leaf", "root"])
    look = Head(name="look", kind="multilabel", classes=["red", "shiny"])
    photo = {"kind": "root", "look.red": 0, "look.shiny": 1}
    assert [kind.is_shown(photo, name) for name in kind.class_names] == [False, True]
    assert [look.is_shown(photo, name) for name in look.class_names] == [False, True]
    unknown = dict.fromkeys(photo)
    assert kind.is_shown(unknown, "root") is None
    assert look.is_shown(unknown, "red") is None


NAMED = {"heads": [{"name": "kind", "classes": ["dry_flower", "trim"]}]}


def test_names_for_people_reach_the_taxonomy_and_are_no_part_of_its_hash():
    spec = TaxonomySpec.model_validate({**NAMED, "names": {"es": {"dry_flower": "flor seca"}}})
    resolved = spec.resolve(pd.DataFrame())
    assert resolved.names == {"es": {"dry_flower": "flor seca"}}
    assert resolved.sha256 == Taxonomy.model_validate(NAMED).sha256
    assert Taxonomy.model_validate_json(resolved.model_dump_json()).names == resolved.names


def test_names_of_another_taxonomy_are_left_out():
    """Kedro merges the parameters of an environment into those of the base."""
    spec = TaxonomySpec.model_validate(
        {
            "heads": [{"name": "species"}],
            "names": {"es": {"trim": "recortes", "tomato": "tomate", "species": "planta"}},
        }
    )
    resolved = spec.resolve(pd.DataFrame({"species": ["tomato", "potato"]}))
    assert resolved.names == {"es": {"tomato": "tomate", "species": "planta"}}


def test_a_name_for_what_is_not_there_is_a_fault():
    with pytest.raises(TaxonomyError, match=r"'dry_flowers' in 'es'.*did you mean 'dry_flower'"):
        Taxonomy.model_validate({**NAMED, "names": {"es": {"dry_flowers": "flor seca"}}})


@pytest.mark.parametrize("environment", ["base", "crops"])
def test_every_word_of_the_taxonomies_that_come_along_has_a_spanish_name(environment):
    file = Path(__file__).parents[1] / "conf" / environment / "parameters_taxonomy.yml"
    spec = TaxonomySpec.model_validate(yaml.safe_load(file.read_text("utf-8"))["taxonomy"])
    words = {head.name for head in spec.heads}
    words |= {c for head in spec.heads if head.kind != "ordinal" for c in head.class_names}
    assert set(spec.names["es"]) == words

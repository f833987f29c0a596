import numpy as np
import pytest

from gankit import LabelError, Labels

FACES = Labels(
    ("Blond_Hair", "Black_Hair", "Brown_Hair", "Eyeglasses", "Smiling"),
    "attributes",
    (0.25, 0.5, 0.25, 0.3, 0.5),
    ((0, 1, 2),),
)
DIGITS = Labels(tuple(map(str, range(12))), "classes", (1 / 12,) * 12, (tuple(range(12)),))


@pytest.mark.parametrize("text", ["blond", "BLOND", "Blond_Hair", "blond hair", "blond-hair", "lond"])
def test_any_unambiguous_part_finds_a_label(text: str) -> None:
    assert FACES.find(text) == 0


def test_a_whole_name_wins_over_a_part() -> None:
    assert DIGITS.find("1") == 1
    assert DIGITS.find("11") == 11


def test_an_unknown_label_lists_the_models_labels() -> None:
    with pytest.raises(LabelError, match=r"'green'.*Blond_Hair, Black_Hair, Brown_Hair, Eyeglasses, Smiling"):
        FACES.find("green")


@pytest.mark.parametrize("text", ["", " ", "blond,"])
def test_empty_labels_are_unknown(text: str) -> None:
    with pytest.raises(LabelError, match="no label matches"):
        FACES.vectors(text, 0, 0, 1)


def test_an_ambiguous_label_lists_its_matches() -> None:
    with pytest.raises(LabelError, match="'hair' matches Blond_Hair, Black_Hair, Brown_Hair;"):
        FACES.find("hair")


def test_a_requested_label_excludes_its_group() -> None:
    vectors = FACES.vectors("blond", 0, 0, 200)
    assert (vectors[:, :3] == [1, 0, 0]).all()
    both = FACES.vectors("black,smiling", 0, 0, 200)
    assert (both[:, :3] == [0, 1, 0]).all() and (both[:, 4] == 1).all()


def test_open_labels_have_the_frequencies_of_the_data() -> None:
    np.testing.assert_allclose(FACES.vectors(None, 0, 0, 5000).mean(0), FACES.frequency, atol=0.02)
    assert (FACES.vectors(None, 0, 0, 5000)[:, :3].sum(1) == 1).all()
    np.testing.assert_allclose(FACES.vectors("blond", 0, 0, 5000).mean(0)[3:], FACES.frequency[3:], atol=0.02)
    assert (DIGITS.vectors(None, 0, 0, 5000).sum(1) == 1).all()


def test_the_opposite_of_a_label() -> None:
    vectors = FACES.vectors("not-blond", 0, 0, 5000)
    np.testing.assert_allclose(vectors.mean(0), [0, 2 / 3, 1 / 3, 0.3, 0.5], atol=0.02)
    assert (FACES.vectors("not_smil", 0, 0, 100)[:, 4] == 0).all()
    single = Labels(("Blond_Hair",), "attributes", (0.15,))
    assert (single.vectors("not-blond", 0, 0, 100) == 0).all()
    assert (single.vectors("blond", 0, 0, 100) == 1).all()


def test_a_label_whose_name_begins_with_not_is_itself() -> None:
    labels = Labels(("not_seen", "seen"), "attributes", (0.5, 0.5))
    assert labels.vectors("not_seen", 0, 0, 1)[0, 0] == 1


def test_only_requested_labels_change() -> None:
    blond, black = (FACES.vectors(name, 5, 0, 300) for name in ("blond", "black"))
    assert np.array_equal(blond[:, 3:], black[:, 3:])


def test_an_image_has_the_same_label_in_any_batch() -> None:
    whole = FACES.vectors("not-black", 3, 10, 20)
    assert np.array_equal(whole, np.concatenate([FACES.vectors("not-black", 3, 10 + i, 1) for i in range(20)]))


def test_one_label_for_each_image() -> None:
    vectors = FACES.vectors(["blond", "black", "brown"], 0, 0, 3)
    assert np.array_equal(vectors[:, :3], np.eye(3))
    with pytest.raises(LabelError, match="there are 2 labels for 3 images"):
        FACES.vectors(["blond", "black"], 0, 0, 3)


def test_vectors_are_used_unchanged() -> None:
    blend = np.array([0.5, 0.5, 0, 0, 1])
    assert np.array_equal(FACES.vectors(blend, 0, 0, 3), np.tile(blend, (3, 1)))
    assert np.array_equal(FACES.vectors(blend.tolist(), 0, 0, 3), np.tile(blend, (3, 1)))
    with pytest.raises(LabelError, match="names or numbers"):
        FACES.vectors([0.5, "blond"], 0, 0, 2)
    for wrong in (np.zeros(4), np.zeros((2, 5)), np.full(5, np.nan)):
        with pytest.raises(LabelError, match=r"must be finite, \[5\] or \[3, 5\]"):
            FACES.vectors(wrong, 0, 0, 3)


@pytest.mark.parametrize("names", [("a b", "a_b"), ("Cat", "cat"), ("red, big", "red, small")])
def test_an_exact_name_is_always_found(names: tuple[str, str]) -> None:
    labels = Labels(names, "classes", (0.5, 0.5), ((0, 1),))
    for i, name in enumerate(names):
        assert labels.vectors(name, 0, 0, 1)[0].tolist() == np.eye(2)[i].tolist()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("blond,not-blond", "both Blond_Hair and its opposite"),
        ("blond,black", "only one of Blond_Hair, Black_Hair"),
        ("not-blond,not-black,not-brown", "excludes all of Blond_Hair, Black_Hair, Brown_Hair"),
    ],
)
def test_contradictions_are_refused(text: str, words: str) -> None:
    with pytest.raises(LabelError, match=words):
        FACES.vectors(text, 0, 0, 1)


def test_a_group_may_be_empty_where_the_data_has_images_without_it() -> None:
    bald = Labels(("Blond_Hair", "Black_Hair"), "attributes", (0.25, 0.25), ((0, 1),))
    np.testing.assert_allclose(bald.vectors("not-blond", 0, 0, 5000).mean(0), [0, 1 / 3], atol=0.02)
    assert (bald.vectors("not-blond,not-black", 0, 0, 50) == 0).all()


def test_an_image_has_one_class() -> None:
    with pytest.raises(LabelError, match="only one of 3, 4"):
        DIGITS.vectors("3,4", 0, 0, 1)
    assert DIGITS.vectors("not-3", 0, 0, 500)[:, 3].sum() == 0


@pytest.mark.parametrize("request_", [{"blond": 0.7, "smil": 1}, "blond=0.7,smiling", " Blond_Hair = 0.7 , smiling=1"])
def test_labels_may_have_weights(request_: object) -> None:
    vectors = FACES.vectors(request_, 0, 0, 5000)  # type: ignore[arg-type]
    assert (vectors[:, 0] == np.float32(0.7)).all() and (vectors[:, 4] == 1).all()
    # The rest goes to another hair colour with the frequencies of the data; glasses stay open.
    np.testing.assert_allclose(vectors[:, :3].sum(1), 1, rtol=1e-6)
    assert set(np.unique(vectors[:, 1])) == {0, np.float32(0.3)}
    np.testing.assert_allclose(vectors[:, 1:4].mean(0), [0.3 * 2 / 3, 0.3 / 3, 0.3], atol=0.02)


def test_weights_that_fill_a_group_leave_no_rest() -> None:
    np.testing.assert_allclose(
        FACES.vectors("blond=0.25,brown=0.75", 0, 0, 50)[:, :3], [[0.25, 0, 0.75]] * 50, rtol=1e-6
    )
    np.testing.assert_allclose(DIGITS.vectors({"3": 0.5}, 0, 0, 50).sum(1), 1)


def test_a_weight_of_0_is_the_opposite() -> None:
    assert np.array_equal(FACES.vectors({"blond": 0}, 0, 0, 50), FACES.vectors("not-blond", 0, 0, 50))
    bald = Labels(("Blond_Hair", "Black_Hair"), "attributes", (0.25, 0.25), ((0, 1),))
    assert np.array_equal(bald.vectors("blond=0.5", 0, 0, 2), [[0.5, 0], [0.5, 0]])  # not every image has one


def test_one_request_of_any_kind_for_each_image() -> None:
    requests = [{"blond": 0.7}, "black", None, {"blond": 0.2}]
    vectors = FACES.vectors(requests, 3, 0, 4)
    for i, request in enumerate(requests):
        assert np.array_equal(vectors[i : i + 1], FACES.vectors(request, 3, i, 1))
    assert np.array_equal(
        FACES.vectors([[1, 0, 0, 0, 0], [0, 1, 0, 0, 1]], 0, 0, 2), [[1, 0, 0, 0, 0], [0, 1, 0, 0, 1]]
    )
    assert np.array_equal(
        FACES.vectors(np.array(["blond", "black"]), 0, 0, 2), FACES.vectors(["blond", "black"], 0, 0, 2)
    )


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ("blond=0.7,black=0.7", "only one of Blond_Hair, Black_Hair; blend them with weights such as Blond_Hair=0.5"),
        ({"blond": -0.1}, "from 0 to 1, not -0.1 for 'blond'"),
        ({"blond": float("nan")}, "from 0 to 1, not nan"),
        ({"blond": 1, "Blond_Hair": 0.5}, "both Blond_Hair and another weight of it"),
        ({"blond": None}, "weights of labels must be numbers"),
        ("=1", "no label matches ''"),
        ({"blond": 0, "black": 0, "brown": 0}, "excludes all of"),
        ([[1, 0, 0, 0, 0], "blond"], "names or numbers"),
        (np.array(1.0), "names or numbers"),
        ([], "there are 0 labels for 1"),
    ],
)
def test_unusable_weights_are_refused(request_: object, words: str) -> None:
    with pytest.raises(LabelError, match=words):
        FACES.vectors(request_, 0, 0, 1)  # type: ignore[arg-type]

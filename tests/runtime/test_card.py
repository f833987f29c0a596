import json

import pytest

from gankit import Card, Labels, ModelError

CARD = Card("x", 64, 48, 3, 100, Labels(("a", "b"), "classes", (0.5, 0.5), ((0, 1),)), verification={"images": 3})


def test_a_card_survives_writing_and_reading() -> None:
    assert Card.from_json(CARD.to_json()) == CARD
    plain = Card("y", 8, 8, 1, 4)
    assert Card.from_json(plain.to_json()) == plain


def test_unknown_fields_are_ignored() -> None:
    document = json.loads(CARD.to_json()) | {"mood": "fine"}
    assert Card.from_json(json.dumps(document)) == CARD


def test_a_newer_schema_says_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"schema 99.*upgrade"):
        Card.from_json(json.dumps(json.loads(CARD.to_json()) | {"schema": 99}))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1}', '{"schema": "1"}', '"x"'])
def test_other_text_is_not_a_card(text: str) -> None:
    with pytest.raises(ModelError, match="card"):
        Card.from_json(text)


@pytest.mark.parametrize("change", [{"height": 0}, {"z_dim": "x"}, {"labels": {"names": ["a"]}}])
def test_impossible_values_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="card"):
        Card.from_json(json.dumps(json.loads(CARD.to_json()) | change))


def test_the_verification_of_an_older_card_gets_todays_names() -> None:
    old = {"against": "x", "measured": [{"largest_error_steps": 0.5, "mean_error_steps": 0.1, "tolerance_steps": 1}]}
    card = Card.from_json(json.dumps(json.loads(CARD.to_json()) | {"verification": old}))
    assert card.verification == {"against": "x", "measured": [{"max_error": 0.5, "mean_error": 0.1, "tolerance": 1}]}

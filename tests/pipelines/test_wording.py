from pipelines.wording import percent, some


def test_long_lists_name_the_first_and_count_the_rest() -> None:
    assert some(["a", "b"]) == "a, b"
    assert some(list("abcdefgh")) == "a, b, c, d, e and 3 more"
    assert some([1, 2, 3], most=1) == "1 and 2 more"
    assert some([]) == ""


def test_percentages_have_a_decimal_where_it_says_something() -> None:
    assert [percent(share) for share in (0.031, 0.1, -0.05, 1.0)] == ["3.1 %", "10 %", "-5 %", "100 %"]
    assert percent(-0.0001) == "0 %"

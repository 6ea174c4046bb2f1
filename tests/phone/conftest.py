"""Phones as real processes, ended after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from softswitch.lab.children import PhoneChild

StartPhone = Callable[..., PhoneChild]


@pytest.fixture
def start_phone() -> Iterator[StartPhone]:
    """Start phones that do not register; ``uri`` is where to call each."""
    phones: list[PhoneChild] = []

    def start(user: str, *options: str) -> PhoneChild:
        phone = PhoneChild(user, "--no-register", "--user", user, *options)
        phones.append(phone)
        phone.expect("ready")
        return phone

    yield start
    statuses = [phone.stop() for phone in phones]
    assert statuses == [0] * len(phones)

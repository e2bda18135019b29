"""What a resumed run says of another machine."""

from __future__ import annotations

from typing import Any

from dlassign.store.manifest import numeric_differences


def environment(**changes: Any) -> dict[str, Any]:
    packages = {"torch": "2.11", "numpy": "2.3"}
    return {"packages": packages, "device": "cpu", "device_name": "one CPU", "threads": 2} | changes


def test_another_machine_may_change_the_last_bits() -> None:
    assert numeric_differences(environment(), environment()) == []
    bits = "the result may differ in its last bits from that of an unbroken run"
    assert numeric_differences(environment(), environment(threads=4, device_name="another CPU")) == [
        f"threads was 2, is 4: {bits}",
        f"device name was one CPU, is another CPU: {bits}",
    ]
    assert numeric_differences(environment(device="cuda:0"), environment(device="cuda:1")) == []


def test_another_kind_of_device_changes_dropout_and_augmentation() -> None:
    assert numeric_differences(environment(), environment(device="cuda:0", device_name="one GPU")) == [
        "device was cpu, is cuda:0: dropout and augmentation draw other numbers there, so with them the result is "
        "another one"
    ]


def test_another_driver_or_none_in_an_old_log_is_said_or_not() -> None:
    now = {"device": "cuda:0", "threads": 1, "packages": {}, "cuda": "12.8", "driver": "550.1"}
    assert numeric_differences({**now, "driver": "535.2"}, now) == [
        "driver was 535.2, is 550.1: the result may differ in its last bits from that of an unbroken run"
    ]
    assert numeric_differences({"device": "cuda:0", "threads": 1}, now) == []

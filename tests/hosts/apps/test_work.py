"""What pytest -n 2 runs."""
import os

import pytest

import work


@pytest.mark.parametrize('number', range(4))
def test_work(number):
    assert work.mixture(float(os.environ['HOSTS_WORK']) / 2) == os.getpid()

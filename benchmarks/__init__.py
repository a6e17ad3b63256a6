"""Measuring programs behind ``scripts/bench``; nothing here is installed or timed by the tests."""

"""What the Admin API answered is in force: nobody has to wait for it."""

from __future__ import annotations

from support.conformance import Bench


def test_the_next_request_meets_what_was_written(bench: Bench) -> None:
    try:
        for number in range(20):
            mocked = {"response_example": str(number), "content_type": "text/plain"}
            written = bench.put("routes/1", {"uri": "/n", "plugins": {"mocking": mocked}})
            assert written.is_success, written.text
            assert bench.send("GET", "/n").text.strip() == str(number)
        assert bench.manage("DELETE", "routes/1").status_code == 200
        assert bench.send("GET", "/n").status_code == 404
    finally:
        bench.clear()


def test_a_consumer_that_changes_changes_at_once(bench: Bench) -> None:
    abort = {"fault-injection": {"abort": {"http_status": 418, "body": "no"}}}
    try:
        bench.put("routes/1", {"uri": "/hello", "plugins": {"key-auth": {}}})
        bench.put("consumers", {"username": "ann"})
        bench.put("consumers/ann/credentials/one", {"plugins": {"key-auth": {"key": "k"}}})
        assert bench.send("GET", "/hello", headers={"apikey": "k"}).status_code == 200
        bench.put("consumers/ann", {"username": "ann", "plugins": abort})
        assert bench.send("GET", "/hello", headers={"apikey": "k"}).status_code == 418
    finally:
        bench.clear()

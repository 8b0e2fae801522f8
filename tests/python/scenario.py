"""Talks to a server, as a client that shares no code with ours: python3 scenario.py HOST:PORT FOLDER_OF_VECTORS

The server has to be one that was just started, without data and without credentials. It exits with 0 when everything
was as protocol.md says, and otherwise with a traceback. Sections in comments are those of protocol.md.
"""

import random
import sys
import time

import vectors
import wire
from client import PATIENCE, Connection, Dequeuer, GoneAway, Lost, Producer, Refusal, records_of

TOPIC = "python"


def eventually(what, is_so):
    """Asks again until the answer is yes; each time is a round trip."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, f"not so after {PATIENCE} s: {what}"


def refused(code, ask, details=None):
    """Checks that a request is refused, and with which details."""
    try:
        answer = ask()
    except Refusal as refusal:
        assert refusal.name == code, f"{code} expected: {refusal}"
        assert details is None or refusal.details[: len(details)] == details, f"{details} expected: {refusal}"
        return
    raise AssertionError(f"{code} expected: {answer}")


def numbered(count, start=0):
    """Records that differ in everything, and that tell which they are."""
    made = []
    for n in range(start, start + count):
        key = None if n % 3 == 0 else f"key-{n % 7}".encode()
        headers = [("n", str(n).encode()), ("empty", b"")][: n % 3]
        made.append(wire.record(f"record {n} ".encode() + b"x" * (n % 50), 1_767_225_600_000_000 + n, key, headers))
    return made


def fetch_all(connection, topic, offset=0, max_bytes=2_000):
    """Everything from an offset on, a few batches at a time (section 4.15)."""
    found = []
    while True:
        answer = connection.call("Fetch", topic=topic, offset=offset, max_bytes=max_bytes, max_wait_ms=0)
        if not answer["batches"]:
            assert offset == answer["tail"], "a Fetch before the tail gives at least one batch"
            return found
        for at, record in records_of(answer["batches"], offset):
            assert at == offset, f"offset {at} where {offset} was to come"
            found.append(record)
            offset += 1


# ---- the steps, in order ----


def the_vectors_are_read_by_this_codec(_, folder):
    loaded = vectors.load(folder)
    checked = sum(vectors.check(vector) for vector in loaded)
    assert checked >= 300, f"only {checked} of {len(loaded)} can be read here"
    return f"{checked} of {len(loaded)}; the others are compressed"


def the_vectors_get_from_the_server_what_they_say(address, folder):
    return f"{vectors.replay(address, vectors.load(folder))} of them are for a server"


def what_a_named_producer_appends_is_there(address, _):
    producer = Producer(address, TOPIC, "writer")
    records = numbered(300)
    for start in range(0, 300, 60):
        producer.append(records[start : start + 60])  # five in flight at once
    stored = producer.flush()
    assert stored == [(start, start, False) for start in range(0, 300, 60)], stored
    connection = Connection.open(address)
    assert fetch_all(connection, TOPIC) == records
    assert fetch_all(connection, TOPIC, 125) == records[125:], "the first batch may begin earlier"
    state = connection.call("ProducerState", producer_id=producer.id)
    assert state == {"topic_id": producer.topic_id, "name": "writer", "epoch": 0, "last_sequence": 300}, state
    info = connection.topic(TOPIC)
    assert (info["head"], info["tail"], info["producers"]) == (0, 300, 1), info


def a_subscription_pushes_what_is_stored_and_what_comes(address, _):
    connection, credit = Connection.open(address), 1_000
    start = ("Offset", 100)
    subscribed = connection.send("Subscribe", topic=TOPIC, start=start, credit_bytes=credit)
    answer = connection.answer(subscribed)
    assert answer["offset"] == 100, answer
    more = numbered(20, 300)
    writer = Producer(address, TOPIC, "writer")
    assert (writer.epoch, writer.next) == (1, 300), "the same name goes on where it was"
    writer.append(more)
    writer.flush()
    found, following = [], 100
    while following < 320:
        delivered = connection.delivery(subscribed)
        assert delivered["gap"] is None, delivered
        for offset, record in records_of(delivered["batches"], following):
            assert offset == following
            found.append(record)
            following += 1
        taken = sum(delivered["batch_bytes"])
        connection.send("Credit", subscription_id=answer["subscription_id"], bytes=taken)
    assert found == numbered(220, 100)
    connection.call("Unsubscribe", subscription_id=answer["subscription_id"])
    refused(
        "UnknownSubscription",
        lambda: connection.call("Unsubscribe", subscription_id=answer["subscription_id"]),
    )


def an_append_whose_answer_is_lost_is_stored_once(address, _):
    observer = Connection.open(address)
    writer = Producer(address, TOPIC, "writer")
    before = observer.topic(TOPIC)["tail"]
    records = numbered(30, 320)
    writer.append(records[:10])
    writer.append(records[10:20])
    # Both answers are on their way, and nobody reads them.
    eventually("both batches are stored", lambda: observer.topic(TOPIC)["tail"] == before + 20)
    writer.lose_the_connection()
    writer.append(records[20:])  # on a connection that is gone
    stored = writer.flush()
    expected = [(before, before, True), (before + 10, before + 10, True), (before + 20, before + 20, False)]
    assert stored == expected and writer.resent == 3, stored
    # The same again without waiting: whether the first send arrived is open, how often it is stored is not.
    for start in range(350, 400, 10):
        writer.append(numbered(10, start))
        writer.lose_the_connection()
        writer.flush()
    assert fetch_all(observer, TOPIC) == numbered(400)


def a_forgotten_twin_is_fenced(address, _):
    old = Producer(address, TOPIC, "writer")
    new = Producer(address, TOPIC, "writer")
    assert (new.id, new.epoch, new.next) == (old.id, old.epoch + 1, old.next)
    old.append(numbered(1, 400))
    refused("ProducerFenced", old.flush, [0, new.epoch])
    new.append(numbered(1, 400))
    assert new.flush() == [(400, 400, False)]


def a_consumer_goes_on_where_it_committed(address, _):
    connection = Connection.open(address)
    register = {"topic": TOPIC, "name": "reader", "start": ("Offset", 10)}
    consumer = connection.call("RegisterConsumer", **register)
    assert (consumer["cursor"], consumer["existed"]) == (10, False), consumer
    commit = {"consumer_id": consumer["consumer_id"], "rewind": False}
    assert connection.call("Commit", offset=150, **commit) == {"cursor": 150}
    assert connection.call("Commit", offset=20, **commit) == {"cursor": 150}, "not backward without rewind"
    refused("OffsetBeyondTail", lambda: connection.call("Commit", offset=402, **commit), [0, 401])
    connection.close()
    connection = Connection.open(address)
    again = connection.call("RegisterConsumer", **register)
    assert again == {"consumer_id": consumer["consumer_id"], "cursor": 150, "existed": True}, again
    backlog = connection.call("Backlog", consumer_id=consumer["consumer_id"])
    assert backlog == {"backlog": 251, "cursor": 150, "head": 0, "tail": 401}, backlog
    start = ("Cursor", consumer["consumer_id"])
    subscribed = connection.call("Subscribe", topic=TOPIC, start=start, credit_bytes=0)
    assert subscribed["offset"] == 150, subscribed


def an_append_moves_cursors_with_it_or_does_nothing(address, _):
    connection = Connection.open(address)
    source = connection.call("RegisterConsumer", topic=TOPIC, name="pipe", start=("Head", None))["consumer_id"]
    sink = Producer(address, "sink", "pipe")
    one, two = sink.encode(numbered(2), 0), sink.encode(numbered(2), 7)
    parts = [(sink.topic_id, one), (sink.topic_id, two)]
    refused("SequenceGap", lambda: connection.answer(connection.append(parts, [(source, 2)])), [1, 2])
    assert connection.topic("sink")["tail"] == 0
    assert connection.call("Backlog", consumer_id=source)["cursor"] == 0
    for duplicate in [False, True]:
        answer = connection.answer(connection.append(parts[:1], [(source, 2)]))
        assert answer["parts"] == [{"base_offset": 0, "duplicate": duplicate}], answer
        assert connection.call("Backlog", consumer_id=source)["cursor"] == 2
    assert fetch_all(connection, "sink") == numbered(2)


def a_dequeue_whose_answer_is_lost_comes_again(address, _):
    observer = Connection.open(address)
    worker = Dequeuer(address, TOPIC, "worker")
    cursor = lambda: observer.call("Backlog", consumer_id=worker.id)["cursor"]  # noqa: E731
    got = worker.dequeue(5)
    assert worker.cursor == cursor() == 5
    for expected in [12, 19]:
        worker.send(7)
        # The cursor is past the records, and nobody reads the answer that has them.
        eventually(f"the cursor is at {expected}", lambda: cursor() == expected)
        worker.lose_the_connection()
        answer = worker.connection.answer(worker.send(7))
        assert answer["repeated"] and answer["next"] == expected, answer
        got += worker.take(answer)
    # Without waiting: the first send may have moved the cursor or not, and the records are the same.
    for _ in range(5):
        worker.send(3)
        worker.lose_the_connection()
        got += worker.dequeue(3)
    assert got == list(enumerate(numbered(34))), [offset for offset, _ in got]
    # Another process at the same consumer does not get them a second time (section 8.7).
    worker.cursor, worker.attempt = 19, random.getrandbits(64)
    refused("CursorMismatch", lambda: worker.dequeue(1), [34])


def the_rest_of_the_requests_are_answered(address, _):
    connection = Connection.open(address)
    info = connection.call("ServerInfo")
    assert info["server_id"] == connection.granted["server_id"] and info["accepts_appends"], info
    created = connection.call("CreateTopic", topic="other", retention=keep(), if_absent=False)
    assert created["created"], created
    refused("TopicExists", lambda: connection.call("CreateTopic", topic="other", retention=keep(), if_absent=False))
    listed, after, more = [], "", True
    while more:
        page = connection.call("ListTopics", after=after, limit=2)
        more, names = page["more"], [topic["name"] for topic in page["topics"]]
        listed, after = listed + names, names[-1]
    assert listed == sorted(set(listed)) and {TOPIC, "sink", "other"} <= set(listed), listed
    assert connection.call("OffsetForTimestamp", topic=TOPIC, timestamp_us=0) == {"offset": 0}
    assert connection.call("OffsetForTimestamp", topic=TOPIC, timestamp_us=2**64 - 1) == {"offset": 401}
    waiting = connection.send("Fetch", topic="other", offset=0, max_bytes=1, max_wait_ms=60_000)
    connection.call("Ping")  # answers come in any order
    assert connection.call("DeleteTopic", topic="other", if_present=False) == {"deleted": True}
    refused("UnknownTopic", lambda: connection.answer(waiting))


def bad_input_gets_its_error(address, _):
    connection = Connection.open(address)
    fetch = {"topic": TOPIC, "offset": 0, "max_bytes": 1, "max_wait_ms": 0}
    refused("UnknownTopic", lambda: connection.call("Fetch", **{**fetch, "topic": "nowhere"}))
    refused("InvalidName", lambda: connection.call("Fetch", **{**fetch, "topic": "../etc"}))
    refused("LimitExceeded", lambda: connection.call("Fetch", **{**fetch, "max_wait_ms": 60_001}), [60_001, 60_000])
    refused("OffsetBeyondTail", lambda: connection.call("Fetch", **{**fetch, "offset": 402}), [0, 401])
    refused("UnknownConsumer", lambda: connection.call("Backlog", consumer_id=bytes(16)))
    refused("UnknownProducer", lambda: connection.call("ProducerState", producer_id=bytes(16)))
    writer = Producer(address, TOPIC, "clumsy")
    good = writer.encode(numbered(2), 0)
    damaged = good[:-1] + bytes([good[-1] ^ 1])
    append = lambda batch: connection.answer(connection.append([(writer.topic_id, batch)]))  # noqa: E731
    refused("BatchChecksum", lambda: append(damaged), [0])
    refused("BatchMalformed", lambda: append(good[:79]), [0])
    refused("SequenceGap", lambda: append(writer.encode(numbered(1), 5)), [0, 0])
    append(good)
    refused("SequenceOverlap", lambda: append(writer.encode(numbered(3), 1)), [0, 2])
    goes_away("BadPreface", Connection(address), b"GET / HTTP/1.1\r\n\r\n")
    goes_away("HelloExpected", Connection(address), wire.PREFACE + wire.encode_frame(2, 1))
    goes_away("FrameTooShort", Connection.open(address), bytes([7, 0, 0, 0]))
    goes_away("FrameTooLarge", Connection.open(address), (wire.MAX_FRAME_BYTES + 1).to_bytes(4, "little"))
    goes_away("BadFrame", Connection.open(address), wire.encode_frame(2, 0))
    wait = wire.encode_body("Fetch", {**fetch, "offset": 403, "max_wait_ms": 60_000})
    goes_away("CorrelationInUse", Connection.open(address), wire.encode_frame(0x31, 9, wait) + wire.encode_frame(2, 9))
    connection.call("Ping")  # nobody else noticed


def goes_away(code, connection, data):
    connection.write(data)
    try:
        while True:
            connection.receive()
    except GoneAway as goodbye:
        assert goodbye.name == code and goodbye.has(wire.CLOSES), f"{code} expected: {goodbye}"
    try:
        raise AssertionError(f"{connection.read_frame()} comes behind GoAway")
    except Lost:
        connection.close()


def keep():
    return {"bytes": None, "age_ms": None}


STEPS = [
    the_vectors_are_read_by_this_codec,
    the_vectors_get_from_the_server_what_they_say,
    what_a_named_producer_appends_is_there,
    a_subscription_pushes_what_is_stored_and_what_comes,
    an_append_whose_answer_is_lost_is_stored_once,
    a_forgotten_twin_is_fenced,
    a_consumer_goes_on_where_it_committed,
    an_append_moves_cursors_with_it_or_does_nothing,
    a_dequeue_whose_answer_is_lost_comes_again,
    the_rest_of_the_requests_are_answered,
    bad_input_gets_its_error,
]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    for step in STEPS:
        began = time.monotonic()
        said = step(*sys.argv[1:])
        name = step.__name__.replace("_", " ")
        print(f"{time.monotonic() - began:6.2f} s  {name}{': ' + said if said else ''}", flush=True)


if __name__ == "__main__":
    main()

"""A small client of the Connectify protocol, written from protocol.md and from nothing else.

It is synchronous, and knows no time-outs but that of its socket. It answers the server's Ping whenever it reads, and
does not send any: nothing here is silent for so long. Sections in comments are those of protocol.md.
"""

import random
import socket
import time

import wire

PATIENCE = 20.0  # seconds: far longer than anything takes


class Lost(Exception):
    """The connection ended. What had no answer yet took effect, or did not."""


class Refusal(Exception):
    """The server refused a request, or everything."""

    def __init__(self, body):
        super().__init__(f"{wire.CODES.get(body['code'], body['code'])}: {body['message']} {body['details']}")
        self.code, self.facts, self.details = body["code"], body["facts"], body["details"]
        self.name = wire.CODES.get(self.code)

    def has(self, fact):
        return bool(self.facts & fact)


class GoneAway(Refusal):
    """The server said why it closes the connection, and has closed it."""


class Connection:
    """A connection on which nothing has been said yet."""

    def __init__(self, address):
        self.socket = connect(address)
        self.buffer = bytearray()
        self.limit = wire.MAX_HANDSHAKE_FRAME_BYTES
        self.last_id = 0
        self.asked = {}  # correlation id: message
        self.answers = {}  # correlation id: answer or Refusal
        self.pushed = {}  # correlation id of a Subscribe: deliveries
        self.granted = None  # the answer to Hello

    @classmethod
    def open(cls, address, **hello):
        """A connection that takes requests."""
        fields = {"client_name": "python", "min_version": 1, "max_version": 1, "credentials": b"", "max_frame_bytes": 0}
        connection = cls(address)
        connection.write(wire.PREFACE)
        connection.granted = connection.call("Hello", **{**fields, **hello})
        connection.limit = connection.granted["max_frame_bytes"]
        return connection

    def close(self):
        self.socket.close()

    # ---- asking ----

    def send(self, message, **fields):
        """Sends a request and does not wait. Gives its correlation id."""
        opcode, request, answer = wire.MESSAGES[message]
        self.last_id = self.last_id % 0xFFFFFFFF + 1  # section 3.1: never 0
        if answer:
            self.asked[self.last_id] = message
        self.write(wire.encode_frame(opcode, self.last_id, wire.encode_body(request, fields)))
        return self.last_id

    def answer(self, correlation_id):
        """Waits for the answer; raises the refusal if it is one."""
        while correlation_id not in self.answers:
            self.receive()
        answer = self.answers.pop(correlation_id)
        if isinstance(answer, Refusal):
            raise answer
        return answer

    def call(self, message, **fields):
        return self.answer(self.send(message, **fields))

    def delivery(self, correlation_id):
        """Waits for the next Deliver of a subscription."""
        while not self.pushed.get(correlation_id):
            self.receive()
        return self.pushed[correlation_id].pop(0)

    # ---- frames ----

    def write(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Lost(str(error)) from error

    def read_frame(self):
        """The next frame, whatever it is."""
        while (found := wire.decode_frame(self.buffer, self.limit)) is None:
            try:
                data = self.socket.recv(1 << 16)
            except OSError as error:
                raise Lost(str(error)) from error
            if not data:
                raise Lost("the server has closed the connection")
            self.buffer += data
        frame, size = found
        del self.buffer[:size]
        return frame

    def receive(self):
        """Takes one frame and puts it where it belongs. Section 2.4: what the document does not allow is fatal."""
        frame = self.read_frame()
        opcode, correlation_id, body = frame["opcode"], frame["correlation_id"], frame["body"]
        if not frame["answer"]:
            if opcode == wire.MESSAGES["Ping"][0]:
                return self.write(wire.encode_frame(opcode, correlation_id, answer=True))
            if opcode == wire.MESSAGES["GoAway"][0] and correlation_id == 0:
                raise GoneAway(wire.decode_body("ErrorBody", body))
            raise AssertionError(f"a server does not send {frame}")
        if opcode == wire.MESSAGES["Deliver"][0]:
            return self.pushed.setdefault(correlation_id, []).append(read_answer("Deliver", frame))
        message = self.asked.pop(correlation_id)
        assert opcode == wire.MESSAGES[message][0] and frame["version"] == 1, frame
        self.answers[correlation_id] = read_answer(message, frame)

    # ---- what is asked often ----

    def topic(self, name):
        return self.call("DescribeTopic", topic=name)["topic"]

    def append(self, batches, commits=()):
        """Sends an Append of (topic id, batch), without waiting for it."""
        parts = [{"topic_id": topic_id, "batch_bytes": len(batch)} for topic_id, batch in batches]
        commits = [{"consumer_id": consumer_id, "offset": offset} for consumer_id, offset in commits]
        return self.send("Append", parts=parts, commits=commits, batches=[batch for _, batch in batches])


def connect(address):
    host, _, port = address.rpartition(":")
    opened = socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def read_answer(message, frame):
    if frame["flags"] & wire.ERROR_FLAG:
        return Refusal(wire.decode_body("ErrorBody", frame["body"]))
    return wire.decode_body(wire.MESSAGES[message][2], frame["body"])


def records_of(batches, first, end=None):
    """(offset, record) of what was asked for; what stands before and behind it in the batches is passed over."""
    for data in batches:
        batch = wire.decode_batch(data)  # section 5.4: checks the checksum
        for index, record in enumerate(batch["records"]):
            offset = batch["base_offset"] + index
            if offset >= first and (end is None or offset < end):
                yield offset, record


def backoff(attempt):
    """Section 9: some tens of milliseconds, doubled up to some seconds, between half and all of that."""
    time.sleep(min(0.02 * 2**attempt, 2.0) * random.uniform(0.5, 1.0))


def reconnect(address, server_id):
    """A new connection to the same log."""
    deadline = time.monotonic() + PATIENCE
    for attempt in range(1000):
        try:
            connection = Connection.open(address)
        except (Lost, GoneAway, OSError) as error:
            if time.monotonic() > deadline:
                raise Lost("no connection before the deadline") from error
            backoff(attempt)
            continue
        assert connection.granted["server_id"] == server_id, "another log: nothing may be resent (section 2.2)"
        return connection


class Producer:
    """Section 9.1: batches are encoded once, and sent again as they are until they are answered."""

    def __init__(self, address, topic, name):
        self.address, self.topic, self.name = address, topic, name
        self.connection = Connection.open(address)
        self.server_id = self.connection.granted["server_id"]
        keep_all = {"bytes": None, "age_ms": None}
        registered = self.connection.call("RegisterProducer", topic=topic, name=name, create=keep_all)
        self.id, self.epoch = registered["producer_id"], registered["epoch"]
        self.topic_id, self.next = registered["topic_id"], registered["last_sequence"]
        self.window = []  # batches that are not known to be stored, in order of sequence
        self.resent = 0

    def encode(self, records, start):
        return wire.encode_batch(records, self.id, self.epoch, (start, start + len(records)))

    def append(self, records):
        """Sends a batch; does not wait for its answer."""
        entry = {"start": self.next, "bytes": self.encode(records, self.next), "sent": None}
        self.next += len(records)
        self.window.append(entry)
        try:
            self._send(entry)
        except Lost:
            pass  # flush finds out

    def _send(self, entry):
        entry["sent"] = None
        entry["sent"] = self.connection.append([(self.topic_id, entry["bytes"])])

    def lose_the_connection(self):
        """What a network may do at any time: nobody reads the answers that are on their way."""
        self.connection.close()

    def flush(self):
        """Waits until all batches are stored. Gives (start, base offset, duplicate) of each."""
        stored, deadline = [], time.monotonic() + PATIENCE
        for attempt in range(1000):
            try:
                while self.window:
                    part = self._settle(self.window[0])
                    stored.append((self.window.pop(0)["start"], part["base_offset"], part["duplicate"]))
                return stored
            except Lost:
                pass
            except Refusal as refusal:
                if not refusal.has(wire.RETRYABLE) or time.monotonic() > deadline:
                    raise
            backoff(attempt)
            self.connection.close()
            self.connection = reconnect(self.address, self.server_id)
            for entry in self.window:
                self.resent += 1
                self._send(entry)
        raise AssertionError("unreachable: the deadline is earlier")

    def _settle(self, entry):
        if entry["sent"] is None:
            raise Lost("it was not sent")
        return self.connection.answer(entry["sent"])["parts"][0]


class Dequeuer:
    """Section 9.4: each record is handed out once, whatever happens to the connection."""

    def __init__(self, address, topic, name):
        self.address = address
        self.connection = Connection.open(address)
        self.server_id = self.connection.granted["server_id"]
        registered = self.connection.call("RegisterConsumer", topic=topic, name=name, start=("Head", None))
        self.id, self.cursor = registered["consumer_id"], registered["cursor"]
        self.attempt = random.getrandbits(64)

    def request(self, max_records):
        return {
            "consumer_id": self.id,
            "cursor": self.cursor,
            "attempt": self.attempt,
            "max_records": max_records,
            "max_wait_ms": 0,
        }

    def send(self, max_records):
        return self.connection.send("Dequeue", **self.request(max_records))

    def lose_the_connection(self):
        self.connection.close()
        self.connection = reconnect(self.address, self.server_id)

    def take(self, answer):
        """Hands out the records of an answer, and goes on behind them."""
        assert answer["offset"] >= self.cursor, "a gap goes forward"
        records = list(records_of(answer["batches"], answer["offset"], answer["next"]))
        if answer["next"] > self.cursor:
            self.cursor, self.attempt = answer["next"], random.getrandbits(64)
        return records

    def dequeue(self, max_records):
        return self.take(self.connection.answer(self.send(max_records)))

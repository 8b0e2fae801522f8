"""The conformance vectors of tests/vectors, through the codec of wire.py, and sent to a server.

protocol.md, section 12, describes their form.
"""

import json
import pathlib

import wire
from client import Connection, GoneAway, Lost, Refusal, read_answer

MAX_PLAIN = 2**53 - 1


def load(folder):
    files = sorted(path for path in pathlib.Path(folder).glob("*.json") if path.name != "schema.json")
    vectors = []
    for path in files:
        file = json.loads(path.read_text(encoding="utf-8"))
        assert file["format"] == 1, f"{path} has another format"
        vectors += file["vectors"]
    assert len(vectors) >= 300, f"only {len(vectors)} vectors in {folder}"
    return vectors


# ---- between Python and JSON ----


def number_to_json(number):
    return number if abs(number) <= MAX_PLAIN else str(number)


def to_json(kind, value):
    """A field as the files show it."""
    if value is None:
        return None
    if kind in wire.LARGEST:
        return number_to_json(value)
    if kind in ("id", "bytes"):
        return value.hex()
    if kind == "batches":
        return [batch.hex() for batch in value]
    if kind == "Start":
        name, follows = value
        return {name: to_json(wire.TAGS[name][1], follows)}
    if kind.startswith("option<"):
        return to_json(kind[7:-1], value)
    if kind.startswith("list<"):
        return [to_json(kind[5:-1], element) for element in value]
    if kind in wire.LAYOUTS:
        return {field: to_json(of, value[field]) for field, of in wire.LAYOUTS[kind]}
    return value


def from_json(kind, value):
    if value is None:
        return None
    if kind in wire.LARGEST:
        return int(value)
    if kind in ("id", "bytes"):
        return bytes.fromhex(value)
    if kind == "batches":
        return [bytes.fromhex(batch) for batch in value]
    if kind == "Start":
        ((name, follows),) = value.items()
        return name, from_json(wire.TAGS[name][1], follows)
    if kind.startswith("option<"):
        return from_json(kind[7:-1], value)
    if kind.startswith("list<"):
        return [from_json(kind[5:-1], element) for element in value]
    if kind in wire.LAYOUTS:
        return {field: from_json(of, value[field]) for field, of in wire.LAYOUTS[kind]}
    return value


def record_to_json(record):
    return {
        "timestamp": number_to_json(record["timestamp"]),
        "key": None if record["key"] is None else record["key"].hex(),
        "headers": [{"name": name, "value": value.hex()} for name, value in record["headers"]],
        "value": record["value"].hex(),
    }


def record_from_json(value):
    key = None if value["key"] is None else bytes.fromhex(value["key"])
    headers = [(header["name"], bytes.fromhex(header["value"])) for header in value["headers"]]
    return wire.record(bytes.fromhex(value["value"]), int(value["timestamp"]), key, headers)


def batch_to_json(batch):
    shown = {field: number_to_json(batch[field]) for field in wire.HEADER_FIELDS if field != "producer_id"}
    return {**shown, "producer_id": batch["producer_id"].hex(), "records": list(map(record_to_json, batch["records"]))}


# ---- each kind: decode and encode, in JSON's terms ----


def whole(reader, value):
    if reader.left():
        reader.refuse("bytes behind it")
    return value


def decode(vector, data):
    """What the bytes mean; None when more has to come."""
    kind = vector["kind"]
    if kind == "preface":
        version = wire.check_preface(data)
        return None if version is None else {"version": version}
    if kind == "frame":
        limit = wire.MAX_HANDSHAKE_FRAME_BYTES if vector["state"] == "HELLO" else wire.MAX_FRAME_BYTES
        found = wire.decode_frame(data, limit)
        return None if found is None else {**found[0], "body": found[0]["body"].hex()}
    if kind == "body":
        return to_json(vector["message"], wire.decode_body(vector["message"], data))
    if kind == "field":
        reader = wire.Reader(data, "MalformedBody")
        return to_json(vector["type"], whole(reader, wire.decode_field(vector["type"], reader)))
    if kind == "checksum":
        return wire.crc32c(data)
    if kind == "batch":
        return batch_to_json(wire.decode_batch(data))
    reader = wire.Reader(data, "BatchMalformed")
    if kind == "record":
        return record_to_json(whole(reader, wire.decode_record(reader, int(vector["first_timestamp"]))))
    number = whole(reader, reader.varint())
    return number_to_json(wire.unzigzag(number) if kind == "zigzag" else number)


def encode(vector):
    """The bytes of a value; None where there is nothing to encode."""
    kind, value = vector["kind"], vector["value"]
    if kind == "preface":
        return wire.PREFACE
    if kind == "frame":
        fields = {**value, "body": bytes.fromhex(value["body"])}
        return wire.encode_frame(**fields)
    if kind == "body":
        return wire.encode_body(vector["message"], from_json(vector["message"], value))
    if kind == "field":
        return wire.encode_field(vector["type"], from_json(vector["type"], value))
    if kind == "varint":
        return wire.encode_varint(int(value))
    if kind == "zigzag":
        return wire.encode_varint(wire.zigzag(int(value)))
    if kind == "record":
        return wire.encode_record(record_from_json(value), int(vector["first_timestamp"]))
    if kind == "batch":
        return wire.encode_batch(
            [record_from_json(record) for record in value["records"]],
            bytes.fromhex(value["producer_id"]),
            value["producer_epoch"],
            (int(value["sequence_start"]), int(value["sequence_end"])),
            int(value["first_timestamp"]),
            int(value["base_offset"]),
            int(value["append_time"]),
        )
    return None


def check(vector):
    """Checks one vector. Gives False for a batch whose compression cannot be read here."""
    data = bytes.fromhex(vector["hex"])
    try:
        value = decode(vector, data)
    except wire.CannotDecompress:
        return False
    except wire.Refused as refused:
        assert "value" not in vector, f"{vector['name']} is refused: {refused}"
        assert vector["error"]["name"] == refused.code, f"{vector['name']}: {refused}"
        return True
    if vector.get("incomplete"):
        assert value is None, f"{vector['name']} is read as {value}"
        return True
    assert "value" in vector, f"{vector['name']} is read as {value}"
    assert value == vector["value"], f"{vector['name']} is read as {value}"
    if vector.get("canonical", True):
        encoded = encode(vector)
        assert encoded in (None, data), f"{vector['name']} is encoded as {encoded.hex()}"
    return True


# ---- what a server makes of them ----


def expect_goodbye(vector, opened):
    """Reads until GoAway, which must say what the vector says."""
    try:
        while True:
            opened.receive()
    except GoneAway as goodbye:
        same(vector, goodbye)
        assert goodbye.has(wire.CLOSES), f"{vector['name']}: GoAway without the fact C"
    try:
        frame = opened.read_frame()
        raise AssertionError(f"{vector['name']}: {frame} behind GoAway")
    except Lost:
        opened.close()


def same(vector, refusal):
    error = vector["error"]
    details = error.get("details", [])
    assert refusal.code == error["code"], f"{vector['name']}: the server says {refusal}"
    assert refusal.details[: len(details)] == details, f"{vector['name']}: the server says {refusal}"


def send_raw(opened, vector, data, opcode, correlation_id):
    """Sends a frame of a request and checks what it gets."""
    opened.write(data)
    place = vector.get("error", {}).get("where")
    if place == "GoAway":
        return expect_goodbye(vector, opened)
    if opcode == wire.MESSAGES["Credit"][0]:
        return opened.call("Ping")
    frame = opened.read_frame()
    while (frame["opcode"], frame["correlation_id"]) != (opcode, correlation_id):
        frame = opened.read_frame()
    if place == "answer":
        assert frame["answer"] and frame["flags"] & wire.ERROR_FLAG, f"{vector['name']}: the server answers {frame}"
        return same(vector, read_answer("Ping", frame))
    # Nothing is wrong with the bytes. What they ask for need not be there.
    answer = Refusal(wire.decode_body("ErrorBody", frame["body"])) if frame["flags"] else None
    fine = answer is None or answer.code > 31 and answer.code not in (34, 36) and not 64 <= answer.code <= 72
    assert fine, f"{vector['name']}: the server says {answer}"


def replay(address, vectors):
    """Sends every preface, frame, request and batch to a server that was just started. Gives how many there were."""
    count, opened = 0, Connection.open(address)
    for vector in vectors:
        data, kind = bytes.fromhex(vector["hex"]), vector["kind"]
        message, place = vector.get("message"), vector.get("error", {}).get("where")
        if kind == "preface" and place:
            stranger = Connection(address)
            stranger.write(data)
            expect_goodbye(vector, stranger)
        elif kind == "frame" and not vector.get("incomplete"):
            if vector["state"] == "OPEN":
                fresh = Connection.open(address)
            else:
                fresh = Connection(address)
                fresh.write(wire.PREFACE)
            header = vector.get("value", {})
            if header.get("answer") and not place:
                fresh.write(data)
                fresh.call("Ping")
            else:
                send_raw(fresh, vector, data, header.get("opcode"), header.get("correlation_id"))
            fresh.close()
        elif kind == "body" and message == "Hello":
            fresh = Connection(address)
            fresh.write(wire.PREFACE)
            send_raw(fresh, vector, wire.encode_frame(1, 1, data), 1, 1)
            fresh.close()
        elif kind == "body" and message in wire.MESSAGES and place != "client" and message != "Deliver":
            opcode = wire.MESSAGES[message][0]
            opened.last_id += 1
            send_raw(opened, vector, wire.encode_frame(opcode, opened.last_id, data), opcode, opened.last_id)
        elif kind == "batch" and place:
            try:
                opened.answer(opened.append([(1, data)]))
                raise AssertionError(f"{vector['name']} is stored")
            except Refusal as refusal:
                same(vector, refusal)
        else:
            continue
        count += 1
    opened.close()
    return count

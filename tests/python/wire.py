"""The bytes of the Connectify protocol, version 1, written from protocol.md and from nothing else.

Sections in comments are those of protocol.md. Nothing here talks to a socket.
"""

import struct

PREFACE = b"CNFY\r\n\x01\x00"  # section 2.1
FRAME_FRONT_BYTES = 12  # length, opcode, version, flags, correlation id
ANSWER_BIT = 0x8000
ERROR_FLAG = 1

# Section 7.
MIN_FRAME_LENGTH = 8
MAX_HANDSHAKE_FRAME_BYTES = 4_096
MAX_FRAME_BYTES = 8_388_608
MAX_CONTROL_BYTES = 65_536
BATCH_HEADER_BYTES = 80
MAX_BATCH_BYTES = 8_323_064
MAX_RECORD_BYTES = 4_194_304
MAX_BATCH_RECORDS = 65_536
MAX_KEY_BYTES = 16_384
MAX_HEADERS = 64
MAX_HEADER_NAME_BYTES = 255

RETRYABLE, MAY_HAVE_APPLIED, CLOSES = 1, 2, 4  # section 6.1

CODES = {
    1: "BadPreface", 2: "UnsupportedVersion", 3: "FrameTooLarge", 4: "FrameTooShort", 5: "BadFrame",
    6: "HelloExpected", 7: "HelloRepeated", 8: "UnknownOpcode", 9: "UnknownMessageVersion", 10: "MalformedBody",
    11: "Unauthorized", 12: "TooManyConnections", 13: "TooSlow", 14: "IdleTimeout", 15: "ShuttingDown",
    16: "CorrelationInUse", 17: "AnswerTooLarge", 18: "LimitExceeded",
    32: "UnknownTopic", 33: "TopicExists", 34: "InvalidName", 35: "TooManyTopics", 36: "InvalidRetention",
    48: "UnknownProducer", 49: "ProducerNotForTopic", 50: "ProducerFenced", 51: "SequenceGap",
    52: "SequenceOverlap", 53: "TooManyProducers",
    64: "BatchMalformed", 65: "BatchChecksum", 66: "BatchVersion", 67: "BatchTooLarge", 68: "RecordTooLarge",
    69: "UnknownCompression", 70: "BadCompression", 71: "CountMismatch", 72: "BadSequenceRange",
    80: "UnknownConsumer", 81: "CursorMismatch", 82: "OffsetBeforeHead", 83: "OffsetBeyondTail",
    84: "TooManyConsumers", 85: "TooManySubscriptions", 86: "UnknownSubscription",
    96: "DiskFull", 97: "Indeterminate", 98: "StorageFailed", 99: "Corrupted", 112: "Internal",
}  # fmt: skip


class Refused(Exception):
    """Bytes that are not allowed, with the name of the code that they get."""

    def __init__(self, code, why):
        super().__init__(f"{code}: {why}")
        self.code = code


class CannotDecompress(Exception):
    """A batch that may be good, and whose compression the standard library does not have."""


# Section 4: the opcode of each message, and the tables of its request and of its answer.
MESSAGES = {
    "Hello": (0x0001, "Hello", "HelloAnswer"),
    "Ping": (0x0002, "Ping", "PingAnswer"),
    "GoAway": (0x0003, "ErrorBody", None),
    "ServerInfo": (0x0004, "ServerInfo", "ServerInfoAnswer"),
    "CreateTopic": (0x0010, "CreateTopic", "CreateTopicAnswer"),
    "DeleteTopic": (0x0011, "DeleteTopic", "DeleteTopicAnswer"),
    "ListTopics": (0x0012, "ListTopics", "ListTopicsAnswer"),
    "DescribeTopic": (0x0013, "DescribeTopic", "DescribeTopicAnswer"),
    "RegisterProducer": (0x0020, "RegisterProducer", "RegisterProducerAnswer"),
    "Append": (0x0021, "Append", "AppendAnswer"),
    "ProducerState": (0x0022, "ProducerState", "ProducerStateAnswer"),
    "ListProducers": (0x0023, "ListProducers", "ListProducersAnswer"),
    "ForgetProducer": (0x0024, "ForgetProducer", "ForgetProducerAnswer"),
    "RegisterConsumer": (0x0030, "RegisterConsumer", "RegisterConsumerAnswer"),
    "Fetch": (0x0031, "Fetch", "FetchAnswer"),
    "Subscribe": (0x0032, "Subscribe", "SubscribeAnswer"),
    "Deliver": (0x0033, None, "Deliver"),
    "Credit": (0x0034, "Credit", None),
    "Unsubscribe": (0x0035, "Unsubscribe", "UnsubscribeAnswer"),
    "Commit": (0x0036, "Commit", "CommitAnswer"),
    "Dequeue": (0x0037, "Dequeue", "DequeueAnswer"),
    "Backlog": (0x0038, "Backlog", "BacklogAnswer"),
    "OffsetForTimestamp": (0x0039, "OffsetForTimestamp", "OffsetForTimestampAnswer"),
}

# The fields of each table, in the order of the wire.
LAYOUTS = {
    name: [tuple(field.split(":")) for field in fields.split()]
    for name, fields in {
        "Hello": "client_name:string min_version:u16 max_version:u16 credentials:bytes max_frame_bytes:u32",
        "HelloAnswer": "server_id:id server_version:string version:u16 features:u64 max_frame_bytes:u32 "
        "max_batch_bytes:u32 max_record_bytes:u32 max_in_flight_requests:u32 max_in_flight_bytes:u32 "
        "keepalive_ms:u32",
        "Ping": "",
        "PingAnswer": "",
        "ServerInfo": "",
        "ServerInfoAnswer": "server_id:id server_version:string uptime_ms:u64 now_us:u64 connections:u32 "
        "topics:u32 producers:u32 consumers:u32 stored_bytes:u64 free_bytes:option<u64> accepts_appends:bool "
        "ephemeral:bool",
        "Retention": "bytes:option<u64> age_ms:option<u64>",
        "CreateTopic": "topic:string retention:Retention if_absent:bool",
        "CreateTopicAnswer": "topic_id:u32 created:bool",
        "DeleteTopic": "topic:string if_present:bool",
        "DeleteTopicAnswer": "deleted:bool",
        "ListTopics": "after:string limit:u32",
        "ListTopicsAnswer": "topics:list<TopicInfo> more:bool",
        "TopicInfo": "name:string topic_id:u32 head:u64 tail:u64 bytes:u64 retention:Retention created_us:u64 "
        "producers:u32 consumers:u32",
        "DescribeTopic": "topic:string",
        "DescribeTopicAnswer": "topic:TopicInfo consumers:list<ConsumerInfo>",
        "ConsumerInfo": "consumer_id:id name:option<string> cursor:u64 backlog:u64",
        "RegisterProducer": "topic:string name:option<string> create:option<Retention>",
        "RegisterProducerAnswer": "producer_id:id epoch:u32 topic_id:u32 last_sequence:u64",
        "Append": "parts:list<AppendPart> commits:list<CursorMove> batches:batches",
        "AppendPart": "topic_id:u32 batch_bytes:u32",
        "CursorMove": "consumer_id:id offset:u64",
        "AppendAnswer": "parts:list<AppendedPart>",
        "AppendedPart": "base_offset:option<u64> duplicate:bool",
        "ProducerState": "producer_id:id",
        "ProducerStateAnswer": "topic_id:u32 name:option<string> epoch:u32 last_sequence:u64",
        "ListProducers": "topic:string prefix:string after:string limit:u32",
        "ListProducersAnswer": "producers:list<ProducerInfo> more:bool",
        "ProducerInfo": "name:string producer_id:id epoch:u32 last_sequence:u64 last_offset:option<u64>",
        "ForgetProducer": "producer_id:id",
        "ForgetProducerAnswer": "forgotten:bool",
        "RegisterConsumer": "topic:string name:option<string> start:Start",
        "RegisterConsumerAnswer": "consumer_id:id cursor:u64 existed:bool",
        "Fetch": "topic:string offset:u64 max_bytes:u32 max_wait_ms:u32",
        "FetchAnswer": "head:u64 tail:u64 batch_bytes:list<u32> batches:batches",
        "Subscribe": "topic:string start:Start credit_bytes:u64",
        "SubscribeAnswer": "subscription_id:u32 offset:u64 head:u64 tail:u64",
        "Deliver": "subscription_id:u32 head:u64 tail:u64 gap:option<Gap> batch_bytes:list<u32> batches:batches",
        "Gap": "from:u64 to:u64",
        "Credit": "subscription_id:u32 bytes:u64",
        "Unsubscribe": "subscription_id:u32",
        "UnsubscribeAnswer": "",
        "Commit": "consumer_id:id offset:u64 rewind:bool",
        "CommitAnswer": "cursor:u64",
        "Dequeue": "consumer_id:id cursor:u64 attempt:u64 max_records:u32 max_wait_ms:u32",
        "DequeueAnswer": "offset:u64 next:u64 tail:u64 repeated:bool batch_bytes:list<u32> batches:batches",
        "Backlog": "consumer_id:id",
        "BacklogAnswer": "backlog:u64 cursor:u64 head:u64 tail:u64",
        "OffsetForTimestamp": "topic:string timestamp_us:u64",
        "OffsetForTimestampAnswer": "offset:u64",
        "ErrorBody": "code:u16 facts:u8 message:string details:list<u64>",
    }.items()
}

# Section 4.16: the tags of Start, and what follows each.
TAGS = {"Head": (0, None), "Tail": (1, None), "Offset": (2, "u64"), "Timestamp": (3, "u64"), "Cursor": (4, "id")}

LARGEST = {"u16": 2**16 - 1, "u32": 2**32 - 1, "u64": 2**64 - 1}


def _inner(kind, outer):
    """The `T` of `option<T>` or `list<T>`, or None."""
    return kind[len(outer) + 1 : -1] if kind.startswith(outer + "<") else None


# ---- section 1.2: control fields ----


class Reader:
    """Takes bytes off the front; what is missing is refused with one code."""

    def __init__(self, data, code):
        self.data, self.at, self.code = data, 0, code

    def refuse(self, why):
        raise Refused(self.code, why)

    def left(self):
        return len(self.data) - self.at

    def take(self, count):
        if count > self.left():
            self.refuse(f"{count} bytes wanted, {self.left()} are left")
        self.at += count
        return bytes(self.data[self.at - count : self.at])

    def byte(self):
        return self.take(1)[0]

    def number(self, kind="u64"):
        first = self.byte()
        if first <= 250:
            return first
        if first > 0xFD:
            self.refuse("the first byte of a number is reserved")
        size, least = {0xFB: (2, 251), 0xFC: (4, 2**16), 0xFD: (8, 2**32)}[first]
        number = int.from_bytes(self.take(size), "little")
        if number < least:
            self.refuse(f"{number} is in a longer form than necessary")
        if number > LARGEST[kind]:
            self.refuse(f"{number} does not fit {kind}")
        return number

    def flag(self):
        byte = self.byte()
        if byte > 1:
            self.refuse(f"{byte} is neither 0 nor 1")
        return byte == 1

    def varint(self):
        """Section 5.2: LEB128, which is not the number of section 1.2."""
        number = 0
        for index in range(10):
            byte = self.byte()
            number |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if byte == 0 and index > 0:
                    self.refuse("a varint is in a longer form than necessary")
                if number >= 2**64:
                    break
                return number
        return self.refuse("a varint takes more than 64 bits")


def encode_number(number):
    if number <= 250:
        return bytes([number])
    for first, size in [(0xFB, 2), (0xFC, 4), (0xFD, 8)]:
        if number < 1 << (8 * size):
            return bytes([first]) + number.to_bytes(size, "little")
    raise ValueError(f"{number} takes more than 64 bits")


def encode_field(kind, value):
    if kind == "u8":
        return bytes([value])
    if kind in LARGEST:
        if not 0 <= value <= LARGEST[kind]:
            raise ValueError(f"{value} does not fit {kind}")
        return encode_number(value)
    if kind == "bool":
        return b"\x01" if value else b"\x00"
    if kind == "id":
        if len(value) != 16:
            raise ValueError("an id has 16 bytes")
        return value
    if kind in ("string", "bytes"):
        data = value.encode() if kind == "string" else value
        return encode_number(len(data)) + data
    if inner := _inner(kind, "option"):
        return b"\x00" if value is None else b"\x01" + encode_field(inner, value)
    if inner := _inner(kind, "list"):
        return encode_number(len(value)) + b"".join(encode_field(inner, element) for element in value)
    if kind == "Start":
        name, follows = value
        tag, inner = TAGS[name]
        return bytes([tag]) + (encode_field(inner, follows) if inner else b"")
    return encode_body(kind, value)


def decode_field(kind, reader):
    if kind == "u8":
        return reader.byte()
    if kind in LARGEST:
        return reader.number(kind)
    if kind == "bool":
        return reader.flag()
    if kind == "id":
        return reader.take(16)
    if kind == "bytes":
        return reader.take(reader.number())
    if kind == "string":
        return _text(reader, reader.take(reader.number()))
    if inner := _inner(kind, "option"):
        return decode_field(inner, reader) if reader.flag() else None
    if inner := _inner(kind, "list"):
        # An element of a list has at least one byte: a count beyond what is left is refused before memory is used.
        count = reader.number()
        if count > reader.left():
            reader.refuse(f"{count} elements do not fit {reader.left()} bytes")
        return [decode_field(inner, reader) for _ in range(count)]
    if kind == "Start":
        tag = reader.byte()
        for name, (number, inner) in TAGS.items():
            if number == tag:
                return name, (decode_field(inner, reader) if inner else None)
        reader.refuse(f"tag {tag} is unknown")
    return _decode_structure(kind, reader)


def _text(reader, data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return reader.refuse("a string is not UTF-8")


def encode_body(name, value):
    """The control fields of a message or a structure, and the batches behind them."""
    out = []
    for field, kind in LAYOUTS[name]:
        out.append(b"".join(value["batches"]) if kind == "batches" else encode_field(kind, value[field]))
    return b"".join(out)


def _decode_structure(name, reader):
    value = {}
    for field, kind in LAYOUTS[name]:
        if kind != "batches":
            value[field] = decode_field(kind, reader)
            continue
        if reader.at > MAX_CONTROL_BYTES:
            reader.refuse("control fields are over the limit")
        lengths = value["batch_bytes"] if "batch_bytes" in value else [part["batch_bytes"] for part in value["parts"]]
        value["batches"] = [reader.take(length) for length in lengths]
    return value


def decode_body(name, body):
    reader = Reader(body, "MalformedBody")
    value = _decode_structure(name, reader)
    if reader.left():
        reader.refuse(f"{reader.left()} bytes behind the last field")
    if "batches" not in value and reader.at > MAX_CONTROL_BYTES:
        reader.refuse("control fields are over the limit")
    return value


# ---- section 3: frames ----


def encode_frame(opcode, correlation_id, body=b"", answer=False, flags=0, version=1):
    number = opcode | (ANSWER_BIT if answer else 0)
    return struct.pack("<IHBBI", MIN_FRAME_LENGTH + len(body), number, version, flags, correlation_id) + body


def decode_frame(data, limit):
    """The frame at the front of `data` and how long it is, or None when more has to come."""
    if len(data) < 4:
        return None
    (length,) = struct.unpack_from("<I", data)
    if length < MIN_FRAME_LENGTH:
        raise Refused("FrameTooShort", f"length {length}")
    if length > limit:
        raise Refused("FrameTooLarge", f"length {length}, limit {limit}")
    if len(data) < 4 + length:
        return None
    opcode, version, flags, correlation_id = struct.unpack_from("<HBBI", data, 4)
    answer = bool(opcode & ANSWER_BIT)
    if flags & ~ERROR_FLAG or (flags and not answer):
        raise Refused("BadFrame", f"flags {flags}")
    frame = {
        "opcode": opcode & ~ANSWER_BIT,
        "answer": answer,
        "version": version,
        "flags": flags,
        "correlation_id": correlation_id,
        "body": bytes(data[FRAME_FRONT_BYTES : 4 + length]),
    }
    return frame, 4 + length


def check_preface(data):
    """Section 2.1: the version, or None when more has to come."""
    magic = PREFACE[:6]
    if not magic.startswith(data[:6]):
        raise Refused("BadPreface", "the first bytes are not CNFY, CR, LF")
    if len(data) < 8:
        return None
    (version,) = struct.unpack_from("<H", data, 6)
    if version != 1:
        raise Refused("UnsupportedVersion", f"version {version}")
    return version


# ---- section 5: batches ----


def _crc_table():
    polynomial, table = int(f"{0x1EDC6F41:032b}"[::-1], 2), []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (polynomial if byte & 1 else 0)
        table.append(byte)
    return table


_CRC = _crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def encode_varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number):
    return number * 2 if number >= 0 else -number * 2 - 1


def unzigzag(number):
    return number // 2 if number % 2 == 0 else -(number + 1) // 2


def record(value, timestamp, key=None, headers=()):
    return {"timestamp": timestamp, "key": key, "headers": list(headers), "value": value}


def encode_record(record, first_timestamp):
    counted = lambda data: encode_varint(len(data)) + data  # noqa: E731
    body = encode_varint(zigzag(record["timestamp"] - first_timestamp))
    body += b"\x00" if record["key"] is None else encode_varint(len(record["key"]) + 1) + record["key"]
    body += encode_varint(len(record["headers"]))
    for name, value in record["headers"]:
        body += counted(name.encode()) + counted(value)
    return counted(body + record["value"])


def decode_record(reader, first_timestamp):
    start = reader.at
    length = reader.varint()
    body = Reader(reader.take(length), reader.code)
    if reader.at - start > MAX_RECORD_BYTES:
        raise Refused("RecordTooLarge", f"{reader.at - start} bytes")
    timestamp = first_timestamp + unzigzag(body.varint())
    if not 0 <= timestamp < 2**64:
        body.refuse(f"timestamp {timestamp}")
    key_length = body.varint() - 1
    if key_length > MAX_KEY_BYTES:
        body.refuse(f"a key of {key_length} bytes")
    key = None if key_length < 0 else body.take(key_length)
    count = body.varint()
    if count > MAX_HEADERS:
        body.refuse(f"{count} headers")
    headers = []
    for _ in range(count):
        name = body.take(body.varint())
        if len(name) > MAX_HEADER_NAME_BYTES:
            body.refuse(f"a header's name of {len(name)} bytes")
        headers.append((_text(body, name), body.take(body.varint())))
    return record(body.take(body.left()), timestamp, key, headers)


# Section 5.1, in order: base offset to first timestamp.
HEADER = struct.Struct("<QQIIBBHI16sIIQQQ")
HEADER_FIELDS = [
    "base_offset", "append_time", "batch_length", "checksum", "version", "attributes", "reserved", "record_count",
    "producer_id", "producer_epoch", "records_length", "sequence_start", "sequence_end", "first_timestamp",
]  # fmt: skip
CHECKED_FROM = 24


def encode_batch(records, producer_id, epoch, sequence, first_timestamp=None, base_offset=0, append_time=0):
    """A batch without compression: the standard library has neither lz4 nor zstd."""
    if first_timestamp is None:
        first_timestamp = records[0]["timestamp"]
    payload = b"".join(encode_record(record, first_timestamp) for record in records)
    batch_length = BATCH_HEADER_BYTES + len(payload)

    def header(checksum):
        return HEADER.pack(
            base_offset, append_time, batch_length, checksum, 1, 0, 0, len(records), producer_id, epoch,
            len(payload), sequence[0], sequence[1], first_timestamp,
        )  # fmt: skip

    return header(crc32c(header(0)[CHECKED_FROM:] + payload)) + payload


def decode_batch(data):
    """All checks of section 5.4, in its order. Also gives the records."""
    malformed = lambda why: Refused("BatchMalformed", why)  # noqa: E731
    if len(data) < BATCH_HEADER_BYTES:
        raise malformed(f"{len(data)} bytes")
    batch = dict(zip(HEADER_FIELDS, HEADER.unpack_from(data)))
    payload = data[BATCH_HEADER_BYTES:]
    if batch["batch_length"] != len(data):
        raise malformed("batch length is another one")
    if batch["version"] != 1:
        raise Refused("BatchVersion", f"version {batch['version']}")
    if batch["attributes"] > 2:
        raise Refused("UnknownCompression", f"attributes {batch['attributes']}")
    if batch["reserved"]:
        raise malformed("reserved is not 0")
    if max(BATCH_HEADER_BYTES + batch["records_length"], len(data)) > MAX_BATCH_BYTES:
        raise Refused("BatchTooLarge", f"records of {batch['records_length']} bytes")
    if batch["attributes"] == 0 and batch["records_length"] != len(payload):
        raise malformed("records length is another one")
    if not 1 <= batch["record_count"] <= MAX_BATCH_RECORDS:
        raise malformed(f"{batch['record_count']} records")
    if batch["sequence_start"] >= batch["sequence_end"]:
        raise Refused("BadSequenceRange", "the range is empty")
    if crc32c(data[CHECKED_FROM:]) != batch["checksum"]:
        raise Refused("BatchChecksum", "the checksum is another one")
    if batch["attributes"]:
        name = {1: "lz4", 2: "zstd"}[batch["attributes"]]
        raise CannotDecompress(f"the records are compressed with {name}, which Python's standard library cannot read")
    reader, records = Reader(payload, "BatchMalformed"), []
    while reader.left():
        records.append(decode_record(reader, batch["first_timestamp"]))
    if len(records) != batch["record_count"]:
        raise Refused("CountMismatch", f"{len(records)} records, {batch['record_count']} announced")
    batch["records"] = records
    return batch

-- A dissector of the Connectify protocol, for Wireshark and tshark: protocol.md as a tree.
--
-- Copy this file to the folder "Personal Lua Plugins" (Help, About, Folders), or name it on the command line:
--
--     tshark -X lua_script:wireshark/connectify.lua -r capture.pcap -O connectify
--
-- It looks at port 7466, or at those of its preferences, and at any connection that begins with the preface. For one
-- whose beginning is not in the capture there is "Decode As". Fields have the names of protocol.md, such as
-- connectify.topic; those of batches begin with connectify.batch, those of records with connectify.record.
--
-- It was tried with Wireshark 4.0 and 4.4, whose Lua is 5.2 and 5.4. It leaves alone what differs between versions of
-- Lua: bits are the affair of `bit`, which every Wireshark has, and numbers over 2^32 that of UInt64. It is one long
-- file because Wireshark takes every file in its folder for a plugin, and because one file is easy to copy.
--
-- Bytes that protocol.md does not allow end in expert information, never in an error of Lua: what reads them raises a
-- table (see `refuse`). Anything else that is raised is a defect of this file, and Wireshark shows it as one. Names and
-- numbers that are readable but out of bounds are left to the answer, which says what the server thinks of them.

local floor = math.floor
local bxor, band, rshift, bnot = bit.bxor, bit.band, bit.rshift, bit.bnot
local unpack = table.unpack or unpack

local connectify = Proto("connectify", "Connectify")

-- Section 7.
local FRAME_HEADER_BYTES = 8
local MAX_FRAME_BYTES = 8388608
local MAX_CONTROL_BYTES = 65536
local BATCH_HEADER_BYTES = 80
local MAX_BATCH_BYTES = 8323064
local MAX_BATCH_RECORDS = 65536
local MAX_RECORD_BYTES = 4194304
local MAX_KEY_BYTES = 16384
local MAX_HEADERS = 64
local MAX_HEADER_NAME_BYTES = 255

local HEADER_BYTES = 4 + FRAME_HEADER_BYTES
local PREFACE = "CNFY\r\n"
local PREFACE_BYTES = 8
-- The first four bytes of a preface as the length of a frame, which it exceeds by far.
local PREFACE_AS_LENGTH = 0x59464e43

-- ---- what protocol.md lists ----

-- Section 4. A request has the layout of its name, an answer that with "Answer" behind it, unless a row says otherwise.
local messages = {
    [0x01] = { name = "Hello" },
    [0x02] = { name = "Ping" },
    [0x03] = { name = "GoAway", request = "ErrorBody", answer = false },
    [0x04] = { name = "ServerInfo" },
    [0x10] = { name = "CreateTopic" },
    [0x11] = { name = "DeleteTopic" },
    [0x12] = { name = "ListTopics" },
    [0x13] = { name = "DescribeTopic" },
    [0x20] = { name = "RegisterProducer" },
    [0x21] = { name = "Append" },
    [0x22] = { name = "ProducerState" },
    [0x23] = { name = "ListProducers" },
    [0x24] = { name = "ForgetProducer" },
    [0x30] = { name = "RegisterConsumer" },
    [0x31] = { name = "Fetch" },
    [0x32] = { name = "Subscribe" },
    [0x33] = { name = "Deliver", request = false, answer = "Deliver" },
    [0x34] = { name = "Credit", answer = false },
    [0x35] = { name = "Unsubscribe" },
    [0x36] = { name = "Commit" },
    [0x37] = { name = "Dequeue" },
    [0x38] = { name = "Backlog" },
    [0x39] = { name = "OffsetForTimestamp" },
}
local PING, GO_AWAY, APPEND, SUBSCRIBE, DELIVER = 0x02, 0x03, 0x21, 0x32, 0x33

-- The tables of sections 4 and 6.1. What has a star is told in the column Info, too.
local layouts = {
    Hello = "client_name* string, min_version u16, max_version u16, credentials bytes, max_frame_bytes u32",
    HelloAnswer = "server_id id, server_version* string, version u16, features u64, max_frame_bytes u32, "
        .. "max_batch_bytes u32, max_record_bytes u32, max_in_flight_requests u32, max_in_flight_bytes u32, "
        .. "keepalive_ms u32",
    Ping = "",
    PingAnswer = "",
    ServerInfo = "",
    ServerInfoAnswer = "server_id id, server_version* string, uptime_ms u64, now_us u64, connections* u32, "
        .. "topics* u32, producers u32, consumers u32, stored_bytes u64, free_bytes option<u64>, "
        .. "accepts_appends bool, ephemeral bool",
    Retention = "bytes option<u64>, age_ms option<u64>",
    CreateTopic = "topic* string, retention Retention, if_absent bool",
    CreateTopicAnswer = "topic_id* u32, created* bool",
    DeleteTopic = "topic* string, if_present bool",
    DeleteTopicAnswer = "deleted* bool",
    ListTopics = "after* string, limit* u32",
    ListTopicsAnswer = "topics* list<TopicInfo>, more* bool",
    TopicInfo = "name* string, topic_id u32, head u64, tail u64, bytes u64, retention Retention, created_us u64, "
        .. "producers u32, consumers u32",
    DescribeTopic = "topic* string",
    DescribeTopicAnswer = "topic TopicInfo, consumers* list<ConsumerInfo>",
    ConsumerInfo = "consumer_id id, name option<string>, cursor u64, backlog u64",
    RegisterProducer = "topic* string, name* option<string>, create option<Retention>",
    RegisterProducerAnswer = "producer_id id, epoch* u32, topic_id* u32, last_sequence* u64",
    Append = "parts* list<AppendPart>, commits* list<CursorMove>, batches batches",
    AppendPart = "topic_id* u32, batch_bytes u32",
    CursorMove = "consumer_id id, offset u64",
    AppendAnswer = "parts* list<AppendedPart>",
    AppendedPart = "base_offset* option<u64>, duplicate* bool",
    ProducerState = "producer_id* id",
    ProducerStateAnswer = "topic_id* u32, name* option<string>, epoch* u32, last_sequence* u64",
    ListProducers = "topic* string, prefix* string, after* string, limit* u32",
    ListProducersAnswer = "producers* list<ProducerInfo>, more* bool",
    ProducerInfo = "name* string, producer_id id, epoch u32, last_sequence* u64, last_offset option<u64>",
    ForgetProducer = "producer_id* id",
    ForgetProducerAnswer = "forgotten* bool",
    RegisterConsumer = "topic* string, name* option<string>, start* Start",
    RegisterConsumerAnswer = "consumer_id id, cursor* u64, existed* bool",
    Fetch = "topic* string, offset* u64, max_bytes u32, max_wait_ms* u32",
    FetchAnswer = "head* u64, tail* u64, batch_bytes list<u32>, batches batches",
    Subscribe = "topic* string, start* Start, credit_bytes* u64",
    SubscribeAnswer = "subscription_id* u32, offset* u64, head u64, tail* u64",
    Deliver = "subscription_id* u32, head u64, tail* u64, gap option<Gap>, batch_bytes list<u32>, batches batches",
    Gap = "from* u64, to* u64",
    Credit = "subscription_id* u32, bytes* u64",
    Unsubscribe = "subscription_id* u32",
    UnsubscribeAnswer = "",
    Commit = "consumer_id id, offset* u64, rewind* bool",
    CommitAnswer = "cursor* u64",
    Dequeue = "consumer_id id, cursor* u64, attempt u64, max_records* u32, max_wait_ms* u32",
    DequeueAnswer = "offset* u64, next* u64, tail* u64, repeated* bool, batch_bytes list<u32>, batches batches",
    Backlog = "consumer_id* id",
    BacklogAnswer = "backlog* u64, cursor* u64, head u64, tail u64",
    OffsetForTimestamp = "topic* string, timestamp_us* u64",
    OffsetForTimestampAnswer = "offset* u64",
    ErrorBody = "code u16, facts u8, message string, details list<u64>",
}

-- Section 4.16.
local starts = {
    [0] = { name = "Head" },
    [1] = { name = "Tail" },
    [2] = { name = "Offset", field = "start.offset", kind = "u64" },
    [3] = { name = "Timestamp", field = "start.timestamp_us", kind = "u64" },
    [4] = { name = "Cursor", field = "start.consumer_id", kind = "id" },
}

-- Section 6.3: name and details of a code. Those of an Append alone say so.
local errors = {
    [1] = { "BadPreface" },
    [2] = { "UnsupportedVersion", "the version that the server speaks" },
    [3] = { "FrameTooLarge", "length", "limit" },
    [4] = { "FrameTooShort", "length" },
    [5] = { "BadFrame" },
    [6] = { "HelloExpected" },
    [7] = { "HelloRepeated" },
    [8] = { "UnknownOpcode" },
    [9] = { "UnknownMessageVersion" },
    [10] = { "MalformedBody" },
    [11] = { "Unauthorized" },
    [12] = { "TooManyConnections", "limit" },
    [13] = { "TooSlow" },
    [14] = { "IdleTimeout" },
    [15] = { "ShuttingDown" },
    [16] = { "CorrelationInUse" },
    [17] = { "AnswerTooLarge", "batch bytes", "F - 64" },
    [18] = { "LimitExceeded", "value", "limit" },
    [32] = { "UnknownTopic", "part, in an Append" },
    [33] = { "TopicExists" },
    [34] = { "InvalidName" },
    [35] = { "TooManyTopics" },
    [36] = { "InvalidRetention" },
    [48] = { "UnknownProducer", "part, in an Append" },
    [49] = { "ProducerNotForTopic", "part" },
    [50] = { "ProducerFenced", "part", "current epoch" },
    [51] = { "SequenceGap", "part", "expected start" },
    [52] = { "SequenceOverlap", "part", "expected start" },
    [53] = { "TooManyProducers" },
    [64] = { "BatchMalformed", "part" },
    [65] = { "BatchChecksum", "part" },
    [66] = { "BatchVersion", "part" },
    [67] = { "BatchTooLarge", "part" },
    [68] = { "RecordTooLarge", "part" },
    [69] = { "UnknownCompression", "part" },
    [70] = { "BadCompression", "part" },
    [71] = { "CountMismatch", "part" },
    [72] = { "BadSequenceRange", "part" },
    [80] = { "UnknownConsumer", "part, in an Append" },
    [81] = { "CursorMismatch", "cursor" },
    [82] = { "OffsetBeforeHead", "head", "tail" },
    [83] = { "OffsetBeyondTail", "part, in an Append", "head", "tail" },
    [84] = { "TooManyConsumers" },
    [85] = { "TooManySubscriptions", "limit" },
    [86] = { "UnknownSubscription" },
    [96] = { "DiskFull" },
    [97] = { "Indeterminate" },
    [98] = { "StorageFailed" },
    [99] = { "Corrupted" },
    [112] = { "Internal" },
}

local function names_of(rows, key)
    local names = {}
    for number, row in pairs(rows) do
        names[number] = row[key]
    end
    return names
end

-- ---- the fields ----

local fields = {}

-- What protocol.md calls a field: those of batches, records and facts are words, the others have underscores.
local function label_of(name)
    local room, label = name:match("^(.-)%.?([^.]+)$")
    return (room == "batch" or room == "record" or room == "facts") and label:gsub("_", " ") or label
end

-- One field for each name, however many layouts have it, so that a filter by topic finds everything about the topic.
local function define(create, name, ...)
    if not fields[name] then
        fields[name] = create("connectify." .. name, label_of(name), ...)
    end
end

local create_by_kind = {
    u8 = ProtoField.uint8,
    u16 = ProtoField.uint16,
    u32 = ProtoField.uint32,
    u64 = ProtoField.uint64,
    bool = ProtoField.bool,
    string = ProtoField.string,
    bytes = ProtoField.bytes,
    id = ProtoField.guid,
}

local function is_time(name)
    return name:find("_us$") ~= nil
end

local function define_scalar(name, kind)
    if is_time(name) then
        define(ProtoField.absolute_time, name, base.UTC)
    elseif create_by_kind[kind] then
        define(create_by_kind[kind], name)
    end
end

-- "option<list<u32>>" as tables, each with its kind and what is within.
local function parse_kind(text)
    local outer, inner = text:match("^(%a+)<(.+)>$")
    if outer then
        return { kind = outer, inner = parse_kind(inner) }
    end
    return { kind = text }
end

local function parse_layout(text)
    local layout = {}
    for name, star, kind in text:gmatch("([%w_]+)(%*?) ([%w<>]+)") do
        layout[#layout + 1] = { name = name, is_told = star ~= "", kind = parse_kind(kind) }
    end
    return layout
end

define(ProtoField.string, "preface")
define(ProtoField.uint16, "preface.version")
define(ProtoField.uint32, "length")
define(ProtoField.uint16, "opcode", base.HEX, names_of(messages, "name"), 0x7fff)
define(ProtoField.bool, "answer", 16, nil, 0x8000)
fields.message_version = ProtoField.uint8("connectify.message_version", "version")
define(ProtoField.uint8, "flags", base.HEX)
define(ProtoField.bool, "flags.error", 8, nil, 1)
fields.correlation_id = ProtoField.uint32("connectify.correlation_id", "correlation id")
define(ProtoField.uint16, "code", base.DEC, names_of(errors, 1))
define(ProtoField.bool, "facts.retryable", 8, nil, 1)
define(ProtoField.bool, "facts.may_have_applied", 8, nil, 2)
define(ProtoField.bool, "facts.closes", 8, nil, 4)
define(ProtoField.uint8, "start", base.DEC, names_of(starts, "name"))
for _, start in pairs(starts) do
    if start.field then
        define_scalar(start.field, start.kind)
    end
end
for name, text in pairs(layouts) do
    layouts[name] = parse_layout(text)
    for _, field in ipairs(layouts[name]) do
        local kind = field.kind
        while kind.inner do
            if kind.kind == "list" then
                define(ProtoField.uint64, field.name .. ".count")
            end
            kind = kind.inner
        end
        define_scalar(field.name, kind.kind)
    end
end

-- Section 5.1: offset and size of the fields of a batch's header.
local compressions = { [0] = "none", [1] = "lz4", [2] = "zstd" }
local batch_header = {
    { 0, 8, "base_offset", ProtoField.uint64 },
    { 8, 8, "append_time", ProtoField.absolute_time, base.UTC },
    { 16, 4, "batch_length", ProtoField.uint32 },
    { 20, 4, "checksum", ProtoField.uint32, base.HEX },
    { 24, 1, "version", ProtoField.uint8 },
    { 25, 1, "attributes", ProtoField.uint8, base.DEC, compressions },
    { 26, 2, "reserved", ProtoField.uint16 },
    { 28, 4, "record_count", ProtoField.uint32 },
    { 32, 16, "producer_id", ProtoField.guid },
    { 48, 4, "producer_epoch", ProtoField.uint32 },
    { 52, 4, "records_length", ProtoField.uint32 },
    { 56, 8, "sequence_start", ProtoField.uint64 },
    { 64, 8, "sequence_end", ProtoField.uint64 },
    { 72, 8, "first_timestamp", ProtoField.absolute_time, base.UTC },
}
for _, row in ipairs(batch_header) do
    define(row[4], "batch." .. row[3], unpack(row, 5))
end
define(ProtoField.none, "batch")
define(ProtoField.bytes, "batch.records")

-- Section 5.2.
define(ProtoField.none, "record")
define(ProtoField.uint32, "record.length")
define(ProtoField.int64, "record.timestamp_delta")
fields["record.key_length"] = ProtoField.uint32("connectify.record.key_length", "key length + 1")
define(ProtoField.bytes, "record.key")
define(ProtoField.uint32, "record.header_count")
define(ProtoField.uint32, "record.header_name_length")
define(ProtoField.string, "record.header_name")
define(ProtoField.uint32, "record.header_value_length")
define(ProtoField.bytes, "record.header_value")
define(ProtoField.bytes, "record.value")
define(ProtoField.uint64, "record.offset")
define(ProtoField.absolute_time, "record.timestamp", base.UTC)

fields.answer_in = ProtoField.framenum("connectify.answer_in", "answer in", base.NONE, frametype.RESPONSE)
fields.request_in = ProtoField.framenum("connectify.request_in", "request in", base.NONE, frametype.REQUEST)
fields.time = ProtoField.relative_time("connectify.time", "time since the request")

local in_order = {}
for _, field in pairs(fields) do
    in_order[#in_order + 1] = field
end
connectify.fields = in_order

local expert_refused =
    ProtoExpert.new("connectify.refused", "The request was refused", expert.group.RESPONSE_CODE, expert.severity.NOTE)
local expert_malformed =
    ProtoExpert.new("connectify.malformed", "Not allowed", expert.group.MALFORMED, expert.severity.ERROR)
local expert_checksum =
    ProtoExpert.new("connectify.bad_checksum", "Wrong checksum", expert.group.CHECKSUM, expert.severity.WARN)
local expert_unknown =
    ProtoExpert.new("connectify.unknown", "Not of version 1", expert.group.UNDECODED, expert.severity.WARN)
local expert_cut = ProtoExpert.new(
    "connectify.cut_short",
    "Cut short by the capture",
    expert.group.UNDECODED,
    expert.severity.NOTE
)
local expert_unmatched = ProtoExpert.new(
    "connectify.unmatched",
    "The request is not in the capture",
    expert.group.SEQUENCE,
    expert.severity.NOTE
)
connectify.experts =
    { expert_refused, expert_malformed, expert_checksum, expert_unknown, expert_cut, expert_unmatched }

-- ---- preferences ----

connectify.prefs.ports = Pref.range("TCP ports", "7466", "Ports of servers.", 65535)
connectify.prefs.checksums =
    Pref.bool("Verify checksums", true, "Compute the CRC-32C of every batch, which takes a while for large ones.")
connectify.prefs.records = Pref.uint(
    "Records shown of a message",
    1000,
    "Those behind them are counted only: the tree of a packet holds a limited number of items."
)

-- ---- small things ----

-- Ends the reading of something that protocol.md does not allow.
local function refuse(text, ...)
    error({ refused = text:format(...) })
end

-- Runs a function over bytes of a peer; gives back why it ended early, if it did.
local function refusal(read, ...)
    local is_good, problem = pcall(read, ...)
    if is_good then
        return nil
    elseif type(problem) ~= "table" then
        error(problem, 0)
    end
    return problem.refused
end

local function complain(item, expert_field, text)
    item:add_proto_expert_info(expert_field, text)
end

-- RFC 3629: no longer forms than necessary, no surrogates, nothing over U+10FFFF.
local function is_utf8(text)
    local at = 1
    while true do
        at = text:find("[\128-\255]", at)
        if not at then
            return true
        end
        local first, second = text:byte(at, at + 1)
        local more = first >= 0xf0 and 3 or first >= 0xe0 and 2 or 1
        local least = ({ [0xe0] = 0xa0, [0xf0] = 0x90 })[first] or 0x80
        local most = ({ [0xed] = 0x9f, [0xf4] = 0x8f })[first] or 0xbf
        local is_good = first >= 0xc2 and first <= 0xf4 and second and second >= least and second <= most
        if not is_good or not text:find("^" .. ("[\128-\191]"):rep(more), at + 1) then
            return false
        end
        at = at + more + 1
    end
end

-- A line of text that shows what bytes are, or begin with.
local function preview(bytes)
    local length = #bytes
    if length > 60 then
        length = 60
        while length > 56 and bytes:find("^[\128-\191]", length + 1) do
            length = length - 1
        end
    end
    local text = bytes:sub(1, length)
    text = is_utf8(text) and text:gsub("%c", ".") or text:gsub("[^\32-\126]", ".")
    return #bytes > length and text .. "..." or text
end

local function counted(count, noun)
    return ("%s %s%s"):format(tostring(count), noun, count == 1 and "" or "s")
end

local function to_uint64(value)
    return type(value) == "number" and UInt64.new(value) or value
end

-- The end of the year 9999, after which nothing prints dates.
local MAX_SECONDS = 253402300799

-- Adds a time in microseconds since 1970.
local function add_time(tree, name, range, value)
    value = to_uint64(value)
    local seconds = (value / 1000000):tonumber()
    if seconds > MAX_SECONDS then
        return tree:add(range, ("%s: %s us, after the year 9999"):format(label_of(name), tostring(value)))
    end
    return tree:add(fields[name], range, NSTime.new(seconds, (value % 1000000):tonumber() * 1000))
end

-- ---- reading ----

-- A place in the bytes of a Tvb, and an end. It reads a Lua string, because a TvbRange for every byte would be slow;
-- ranges are made only for what is shown.
local Reader = {}
Reader.__index = Reader

function Reader.new(tvb, bytes, at, to)
    return setmetatable({ tvb = tvb, bytes = bytes, at = at, to = to }, Reader)
end

function Reader:left()
    return self.to - self.at
end

-- What was read since a place.
function Reader:since(from)
    return self.tvb(from, self.at - from)
end

function Reader:take(count)
    if count > self:left() then
        refuse(self.is_limited and "the control fields are over the limit" or "it ends before its last field does")
    end
    self.at = self.at + count
    return self.bytes:sub(self.at - count + 1, self.at)
end

function Reader:byte()
    return self:take(1):byte()
end

-- Bytes as a number of fixed size, as its low and its high 32 bits.
function Reader:fixed(size)
    local low, high = 0, 0
    for index, byte in ipairs({ self:take(size):byte(1, -1) }) do
        if index <= 4 then
            low = low + byte * 256 ^ (index - 1)
        else
            high = high + byte * 256 ^ (index - 5)
        end
    end
    return floor(low), floor(high)
end

local size_of_number = { [0xfb] = 2, [0xfc] = 4, [0xfd] = 8 }

-- The number of section 1.2.
function Reader:number(largest)
    local first = self:byte()
    if first <= 250 then
        return first
    elseif first >= 0xfe then
        refuse("a number starts with 0x%02x, which is reserved", first)
    end
    local low, high = self:fixed(size_of_number[first])
    if (first == 0xfb and low < 251) or (first == 0xfc and low < 65536) or (first == 0xfd and high == 0) then
        refuse("a number is in a longer form than necessary")
    elseif largest and (high > 0 or low > largest) then
        refuse("a number does not fit its type")
    end
    return high == 0 and low or UInt64.new(low, high)
end

function Reader:zero_or_one()
    local byte = self:byte()
    if byte > 1 then
        refuse("a byte that can be 0 or 1 is %d", byte)
    end
    return byte == 1
end

function Reader:count()
    local count = self:number()
    if type(count) ~= "number" or count > self:left() then
        refuse("a count of %s is more than there is", tostring(count))
    end
    return count
end

function Reader:text(count)
    local text = self:take(count)
    if not is_utf8(text) then
        refuse("a text is not UTF-8")
    end
    return text
end

-- The varint of section 5.2, as its low and its high 32 bits.
function Reader:varint()
    local groups, scale, from = { 0, 0, 0 }, 1, self.at
    repeat
        local byte = self:byte()
        local index = self.at - from
        if index == 10 and byte > 1 then
            refuse("a varint has more than 64 bits")
        elseif byte == 0 and index > 1 then
            refuse("a varint is in a longer form than necessary")
        end
        -- Four bytes make a group of 28 bits, which any Lua holds exactly.
        if index % 4 == 1 then
            scale = 1
        end
        local group = floor((index + 3) / 4)
        groups[group] = groups[group] + byte % 128 * scale
        scale = scale * 128
    until byte < 128
    return groups[1] + groups[2] % 16 * 268435456, floor(groups[2] / 16) + groups[3] * 16777216
end

-- A varint that counts bytes or things.
function Reader:short_varint(limit, what)
    local low, high = self:varint()
    if high > 0 or low > limit then
        refuse("%s is over the limit of %d", what, limit)
    end
    return low
end

-- ---- control fields ----

local read_scalar = {
    u8 = Reader.byte,
    u16 = function(reader) return reader:number(0xffff) end,
    u32 = function(reader) return reader:number(0xffffffff) end,
    u64 = Reader.number,
    bool = Reader.zero_or_one,
    string = function(reader) return reader:text(reader:count()) end,
    bytes = function(reader) return reader:take(reader:count()) end,
    id = function(reader) return reader:take(16) end,
}

-- A body's control fields: what decodes them, and what was found.
local Body = {}
Body.__index = Body

function Body.new(reader, opcode)
    return setmetatable({ reader = reader, opcode = opcode, told = {}, lengths = {} }, Body)
end

-- Notes what the column Info tells. Of a list that is the first element.
function Body:tell(name, value)
    if not self.told[name] then
        self.told[name] = true
        self.told[#self.told + 1] = name .. "=" .. value
    end
end

-- What else is to be done with some fields, when they have been added.
local hooks = {}

function hooks.code(body, _, value)
    body.code = value
end

function hooks.facts(_, item, _, range)
    for _, name in ipairs({ "retryable", "may_have_applied", "closes" }) do
        item:add(fields["facts." .. name], range)
    end
end

function hooks.message(body, _, value)
    body.message = value
end

function hooks.details(body, item, value, _, index)
    local listed = {}
    for place, name in ipairs(errors[body.code] or {}) do
        local plain = name:gsub(", in an Append$", "")
        if place > 1 and (plain == name or body.opcode == APPEND) then
            listed[#listed + 1] = plain
        end
    end
    item:set_text(("details[%d]: %s"):format(index, tostring(value)))
    if listed[index + 1] then
        item:append_text((" (%s)"):format(listed[index + 1]))
    end
end

function hooks.batch_bytes(body, _, value)
    body.lengths[#body.lengths + 1] = value
end

function hooks.credentials(_, item, value)
    item:set_text("credentials: " .. counted(#value, "byte"))
end

-- Adds one scalar, whose item begins at `from`.
function Body:scalar(tree, kind, field, from, index)
    local reader, name = self.reader, field.name
    local value = read_scalar[kind](reader)
    local range, item = reader:since(from), nil
    if is_time(name) then
        item = add_time(tree, name, range, value)
    elseif kind == "u64" then
        item = tree:add(fields[name], range, to_uint64(value))
    elseif kind == "id" then
        item = tree:add(fields[name], range)
    elseif kind == "bytes" then
        item = tree:add(fields[name], reader.tvb(reader.at - #value, #value))
    else
        item = tree:add(fields[name], range, value)
    end
    if index then
        item:set_text(("%s[%d]: %s"):format(name, index, tostring(value)))
    end
    if hooks[name] then
        hooks[name](self, item, value, range, index)
    end
    if field.is_told then
        local text = kind == "id" and range:bytes():tohex(true) or tostring(value)
        self:tell(name, kind == "string" and preview(value) or text)
    end
end

function Body:start(tree, field)
    local from = self.reader.at
    local tag = self.reader:byte()
    local start = starts[tag]
    if not start then
        refuse("a start has the tag %d", tag)
    end
    local item = tree:add(fields.start, self.reader:since(from), tag)
    self:tell(field.name, start.name)
    if start.kind then
        self:scalar(item, start.kind, { name = start.field }, self.reader.at)
        item:set_len(self.reader.at - from)
    end
end

function Body:list(tree, kind, field)
    local reader, from = self.reader, self.reader.at
    local count = reader:number()
    local list = tree:add(reader:since(from), field.name)
    list:add(fields[field.name .. ".count"], reader:since(from), to_uint64(count))
    -- An element takes a byte or more.
    if type(count) ~= "number" or count > reader:left() then
        refuse("a count of %s is more than there is", tostring(count))
    end
    if field.is_told and count > 0 then
        self:tell(field.name, tostring(count))
    end
    for index = 0, count - 1 do
        self:value(list, kind.inner, field, reader.at, index)
    end
    list:set_len(reader.at - from)
end

-- Adds what a type holds. A structure, and each of a list's, gets a tree of its own.
function Body:value(tree, kind, field, from, index)
    local reader = self.reader
    if kind.kind == "option" then
        if reader:zero_or_one() then
            self:value(tree, kind.inner, field, from)
        else
            tree:add(reader:since(from), field.name .. ": absent")
        end
    elseif kind.kind == "list" then
        self:list(tree, kind, field)
    elseif kind.kind == "Start" then
        self:start(tree, field)
    elseif layouts[kind.kind] then
        local label = index and ("%s[%d]"):format(field.name, index) or field.name
        local item = tree:add(reader.tvb(from, reader.at - from), label)
        self:structure(item, kind.kind)
        item:set_len(reader.at - from)
    else
        self:scalar(tree, kind.kind, field, from, index)
    end
end

function Body:structure(tree, name)
    for _, field in ipairs(layouts[name]) do
        if field.kind.kind == "batches" then
            self.has_batches = true
        else
            self:value(tree, field.kind, field, self.reader.at)
        end
    end
end

-- ---- batches ----

local crc_of_byte = {}
for byte = 0, 255 do
    local crc = byte
    for _ = 1, 8 do
        crc = bxor(rshift(crc, 1), band(crc, 1) == 1 and 0x82f63b78 or 0)
    end
    crc_of_byte[byte] = crc
end

-- The checksum of section 5.1. It is taken byte by byte, with three calls for each, so it takes a second for 7 MB.
local function crc32c(bytes, from)
    local crc = -1
    for at = from, #bytes, 1024 do
        for _, byte in ipairs({ bytes:byte(at, at + 1023) }) do
            crc = bxor(rshift(crc, 8), crc_of_byte[band(bxor(crc, byte), 255)])
        end
    end
    return bnot(crc) % 4294967296
end

-- Decompresses a raw LZ4 block that makes so many bytes.
local function unlz4(block, length)
    local out, size, at = {}, 0, 1
    local function byte()
        at = at + 1
        return block:byte(at - 1) or refuse("BadCompression: the LZ4 block ends too early")
    end
    -- A count of 15 goes on in the bytes that follow, up to the first that is not 255.
    local function extended(count)
        local last = count == 15 and 255 or 0
        while last == 255 do
            last = byte()
            count = count + last
        end
        return count
    end
    repeat
        local token = byte()
        local literals = extended(floor(token / 16))
        if literals > #block - at + 1 or size + literals > length then
            refuse("BadCompression: the LZ4 block holds more than it should")
        end
        for index = 1, literals do
            out[size + index] = block:byte(at + index - 1)
        end
        at, size = at + literals, size + literals
        -- The last sequence has literals only.
        if at <= #block then
            local back = byte() + byte() * 256
            local count = extended(token % 16) + 4
            if back == 0 or back > size or size + count > length then
                refuse("BadCompression: the LZ4 block copies what it does not have")
            end
            for index = size + 1, size + count do
                out[index] = out[index - back]
            end
            size = size + count
        end
    until at > #block
    if size ~= length then
        refuse("BadCompression: the records decompress to %d bytes, not to %d", size, length)
    end
    local pieces = {}
    for index = 1, size, 4096 do
        pieces[#pieces + 1] = string.char(unpack(out, index, math.min(index + 4095, size)))
    end
    return table.concat(pieces)
end

local DECOMPRESSED = "Records, decompressed"

-- Decompresses a Zstandard frame, which Wireshark can do since 4.4; older ones know no such method.
local function unzstd(range, length)
    local is_able = pcall(function() return range.uncompress_zstd end)
    if not is_able then
        return nil
    end
    local records = range:uncompress_zstd(DECOMPRESSED)
    if not records or records:len() ~= length then
        refuse("BadCompression: the records do not decompress to %d bytes", length)
    end
    return records:tvb()
end

-- A zigzag as it is shown, and added to a time; times are their low and high 32 bits.
local function add_zigzag(low, high, time_low, time_high)
    local is_negative = low % 2 == 1
    low, high = floor(low / 2) + high % 2 * 2147483648, floor(high / 2)
    local sign = is_negative and -1 or 1
    -- A negative number is that of the bits inverted, so one less than minus the bits.
    local sum_low = time_low + sign * low - (is_negative and 1 or 0)
    local sum_high = time_high + sign * high + floor(sum_low / 4294967296)
    if sum_high < 0 or sum_high > 4294967295 then
        refuse("BatchMalformed: a timestamp does not fit 64 bits")
    end
    if is_negative then
        low, high = 4294967295 - low, 4294967295 - high
    end
    return Int64.new(low, high), UInt64.new(sum_low % 4294967296, sum_high)
end

-- The records of one batch, section 5.2.
local Records = {}
Records.__index = Records

-- Adds a field and gives its item back, as long as records are shown.
function Records:add(name, from, ...)
    if self.tree then
        return self.tree:add(fields["record." .. name], self.reader:since(from), ...)
    end
end

-- A length, and so many bytes.
function Records:counted(name, limit, is_text)
    local reader, from = self.reader, self.reader.at
    local length = reader:short_varint(math.min(limit, reader.to), "the length of a " .. name:gsub("_", " "))
    self:add(name .. "_length", from, length)
    return self:content(name, length, is_text)
end

function Records:content(name, length, is_text)
    local from = self.reader.at
    local bytes = is_text and self.reader:text(length) or self.reader:take(length)
    if is_text then
        self:add(name, from, bytes)
    else
        local item = self:add(name, from)
        if item and length == 0 then
            item:set_text(name:gsub("_", " ") .. ": empty")
        elseif item then
            item:append_text((" (%s)"):format(preview(bytes)))
        end
    end
    return bytes
end

function Records:key()
    local reader, from = self.reader, self.reader.at
    local length = reader:short_varint(MAX_KEY_BYTES + 1, "the length of a key, plus 1,")
    self:add("key_length", from, length)
    if length > 0 then
        return self:content("key", length - 1)
    end
end

-- Reads what a record holds, up to the reader's end; gives its text back.
function Records:fields(index)
    local reader, from = self.reader, self.reader.at
    local low, high = reader:varint()
    local delta, timestamp = add_zigzag(low, high, unpack(self.first_timestamp))
    self:add("timestamp_delta", from, delta)
    if self.tree then
        if self.base_offset then
            self.tree:add(fields["record.offset"], self.base_offset + index):set_generated()
        end
        add_time(self.tree, "record.timestamp", reader:since(from), timestamp):set_generated()
    end
    local key = self:key()
    from = reader.at
    local headers = reader:short_varint(MAX_HEADERS, "the number of headers")
    self:add("header_count", from, headers)
    for _ = 1, headers do
        self:counted("header_name", MAX_HEADER_NAME_BYTES, true)
        self:counted("header_value", MAX_RECORD_BYTES)
    end
    local value = self:content("value", reader:left())
    return (key and preview(key) .. ": " or "") .. preview(value)
end

function Records:record(batch_tree, index)
    local reader, from, to = self.reader, self.reader.at, self.reader.to
    local length = reader:short_varint(MAX_RECORD_BYTES, "RecordTooLarge: the length of a record")
    local length_bytes = reader.at - from
    if length + length_bytes > MAX_RECORD_BYTES then
        refuse("RecordTooLarge: a record of %d bytes is over the limit of %d", length + length_bytes, MAX_RECORD_BYTES)
    elseif length > reader:left() then
        refuse("a record of %d bytes is longer than the batch", length)
    end
    if batch_tree then
        self.tree = batch_tree:add(fields.record, reader.tvb(from, length_bytes + length))
        self.tree:set_text(("record %d"):format(index))
    end
    self:add("length", from, length)
    reader.to = reader.at + length
    local text = self:fields(index)
    if self.tree then
        self.tree:set_text(("record %d: %s"):format(index, text))
        self.tree = nil
    end
    reader.to = to
end

function Records:all(batch_tree, message, count)
    for index = 0, count - 1 do
        if self.reader:left() == 0 then
            refuse("CountMismatch: there are %d, %d are announced", index, count)
        end
        local is_shown = message.records_shown < connectify.prefs.records
        message.records_shown = message.records_shown + (is_shown and 1 or 0)
        self:record(is_shown and batch_tree or nil, index)
        if not is_shown and not self.is_told then
            self.is_told = true
            batch_tree:add(self.reader.tvb(self.reader.at, 0), "further records are not shown, see the preferences")
        end
    end
    if self.reader:left() > 0 then
        refuse("CountMismatch: %d are announced, there are %d bytes behind them", count, self.reader:left())
    end
end

-- The rows of section 5.4 that the header alone is enough for.
local function check_header(header, length)
    if header.batch_length ~= length then
        refuse("BatchMalformed: a batch length of %d, in %d bytes", header.batch_length, length)
    elseif header.reserved ~= 0 then
        refuse("BatchMalformed: the reserved bytes are 0x%04x", header.reserved)
    elseif not compressions[header.attributes] then
        refuse("UnknownCompression: attributes are %d", header.attributes)
    elseif math.max(length, BATCH_HEADER_BYTES + header.records_length) > MAX_BATCH_BYTES then
        refuse("BatchTooLarge: %d bytes, decompressed %d", length, BATCH_HEADER_BYTES + header.records_length)
    elseif header.attributes == 0 and header.records_length ~= length - BATCH_HEADER_BYTES then
        refuse("BatchMalformed: a records length of %d, in %d bytes", header.records_length, length)
    elseif header.record_count < 1 or header.record_count > MAX_BATCH_RECORDS then
        refuse("BatchMalformed: a record count of %d", header.record_count)
    elseif header.sequence_start >= header.sequence_end then
        refuse("BadSequenceRange: %s..%s", tostring(header.sequence_start), tostring(header.sequence_end))
    end
end

local function add_checksum(tree, field, range, batch)
    local item = tree:add_le(field, range)
    if not connectify.prefs.checksums then
        item:append_text(" [not verified]")
        return
    end
    local computed = crc32c(batch, 25)
    if computed == range:le_uint() then
        item:append_text(" [correct]")
    else
        item:append_text(" [incorrect]")
        complain(item, expert_checksum, ("BatchChecksum: the bytes have 0x%08x"):format(computed))
    end
end

-- Adds the header, and gives its values back by name.
local function add_header(tree, range, batch)
    local header = {}
    for _, row in ipairs(batch_header) do
        local at, size, name = row[1], row[2], row[3]
        local part, field = range:range(at, size), fields["batch." .. name]
        if name == "append_time" or name == "first_timestamp" then
            add_time(tree, "batch." .. name, part, part:le_uint64())
        elseif name == "checksum" then
            add_checksum(tree, field, part, batch)
        elseif name == "producer_id" then
            tree:add(field, part)
        else
            tree:add_le(field, part)
            header[name] = size == 8 and part:le_uint64() or part:le_uint()
        end
        if at == 24 and header.version ~= 1 then
            refuse("BatchVersion: %d, whose layout is not known", header.version)
        end
    end
    return header
end

-- A reader of the records, decompressed if need be; none for what cannot be decompressed here.
local function records_reader(tree, reader, header)
    local compressed = reader.tvb(reader.at, reader:left())
    local item = tree:add(fields["batch.records"], compressed)
    item:set_text(("records, %s, %s"):format(compressions[header.attributes], counted(reader:left(), "byte")))
    if header.attributes == 0 then
        return reader
    end
    local bytes = reader:take(reader:left())
    if header.attributes == 1 then
        local records = unlz4(bytes, header.records_length)
        return Reader.new(ByteArray.new(records, true):tvb(DECOMPRESSED), records, 0, #records)
    end
    if bytes:sub(1, 4) ~= "\40\181\47\253" then
        refuse("BadCompression: the records are not a Zstandard frame")
    end
    local tvb = unzstd(compressed, header.records_length)
    if not tvb then
        item:append_text(", which this version of Wireshark does not decompress")
        return nil
    end
    return Reader.new(tvb, tvb:raw(), 0, tvb:len())
end

local function read_batch(tree, reader, message)
    local length = reader:left()
    if length < BATCH_HEADER_BYTES then
        refuse("BatchMalformed: %d bytes are fewer than a header has", length)
    end
    local range = reader.tvb(reader.at, length)
    local header = add_header(tree, range, reader.bytes:sub(reader.at + 1, reader.to))
    check_header(header, length)
    message.records = message.records + header.record_count
    tree:append_text((", %s"):format(counted(header.record_count, "record")))
    if message.is_answer then
        local last = header.base_offset + header.record_count
        tree:append_text((", offsets %s..%s"):format(tostring(header.base_offset), tostring(last)))
        message.first_offset = message.first_offset or header.base_offset
    end
    local time = range:range(72, 8)
    reader:take(BATCH_HEADER_BYTES)
    local inner = records_reader(tree, reader, header)
    if not inner then
        return
    end
    local records = setmetatable({
        reader = inner,
        base_offset = message.is_answer and header.base_offset or nil,
        first_timestamp = { time:range(0, 4):le_uint(), time:range(4, 4):le_uint() },
    }, Records)
    local problem = refusal(records.all, records, tree, message, header.record_count)
    if problem then
        refuse("%s", problem:find("^%u%a+: ") and problem or "BatchMalformed: " .. problem)
    end
end

-- A batch that cannot be read does not keep those behind it from being read.
local function add_batches(tree, reader, message, lengths)
    for index, length in ipairs(lengths) do
        if length > reader:left() then
            refuse("batch %d has %d bytes, there are %d", index - 1, length, reader:left())
        end
        local from, to = reader.at, reader.at + length
        local item = tree:add(fields.batch, reader.tvb(from, length))
        item:set_text(("batch %d: %s"):format(index - 1, counted(length, "byte")))
        local problem = refusal(read_batch, item, Reader.new(reader.tvb, reader.bytes, from, to), message)
        if problem then
            complain(item, expert_malformed, problem)
        end
        reader.at = to
    end
end

-- ---- requests and their answers ----

-- By who asks whom: requests without an answer so far, and subscriptions. And what each frame belongs to.
local conversations, exchanges

function connectify.init()
    conversations, exchanges = {}, {}
end

-- The two ends of a connection, whoever asks first.
local function ends_of(pinfo, is_answer)
    local from = ("%s %d"):format(tostring(pinfo.src), pinfo.src_port)
    local to = ("%s %d"):format(tostring(pinfo.dst), pinfo.dst_port)
    return is_answer and to .. " " .. from or from .. " " .. to
end

-- A preface begins a connection: an earlier one with the same ports has no part in it.
local function forget_earlier(pinfo)
    if not pinfo.visited then
        conversations[ends_of(pinfo, false)] = nil
        conversations[ends_of(pinfo, true)] = nil
    end
end

-- Finds who asked and who answered. It learns only while packets come in their order, for the first time.
local function exchange_of(pinfo, message)
    local ends = ends_of(pinfo, message.is_answer)
    local opcode = message.opcode == DELIVER and SUBSCRIBE or message.opcode
    local key = ("%d %d"):format(opcode, message.id)
    local frame_key = ("%d %s %s %s"):format(pinfo.number, ends, tostring(message.is_answer), key)
    if pinfo.visited then
        return exchanges[frame_key]
    end
    local asked = conversations[ends] or { open = {}, subscriptions = {} }
    conversations[ends] = asked
    local exchange
    if not message.is_answer then
        exchange = { request = pinfo.number, at = pinfo.rel_ts }
        asked.open[key] = exchange
    elseif message.opcode == DELIVER then
        exchange = asked.subscriptions[key]
    else
        exchange = asked.open[key]
        asked.open[key] = nil
        if exchange then
            exchange.answer = pinfo.number
            asked.subscriptions[key] = opcode == SUBSCRIBE and exchange or nil
        end
    end
    exchanges[frame_key] = exchange
    return exchange
end

local function add_exchange(tree, pinfo, message)
    local has_answer = message.known and message.known.answer ~= false
    if message.id == 0 or not has_answer then
        return
    end
    local exchange = exchange_of(pinfo, message)
    if message.is_answer and not exchange then
        complain(tree, expert_unmatched, "the request is not in the capture")
    elseif message.is_answer then
        tree:add(fields.request_in, exchange.request):set_generated()
        local passed = math.max(pinfo.rel_ts - exchange.at, 0)
        local seconds = floor(passed)
        tree:add(fields.time, NSTime.new(seconds, floor((passed - seconds) * 1000000000 + 0.5))):set_generated()
    elseif exchange and exchange.answer then
        tree:add(fields.answer_in, exchange.answer):set_generated()
    end
end

-- ---- frames ----

local function add_frame_header(tree, tvb)
    tree:add_le(fields.length, tvb(0, 4))
    tree:add_le(fields.opcode, tvb(4, 2))
    tree:add_le(fields.answer, tvb(4, 2))
    tree:add(fields.message_version, tvb(6, 1))
    local flags = tree:add(fields.flags, tvb(7, 1))
    flags:add(fields["flags.error"], tvb(7, 1))
    tree:add_le(fields.correlation_id, tvb(8, 4))
end

-- Section 3.3, as far as a header shows it.
local function check_frame_header(tree, message)
    if message.flags > 1 then
        complain(tree, expert_malformed, ("BadFrame: flags are 0x%02x"):format(message.flags))
    elseif message.is_error and not message.is_answer then
        complain(tree, expert_malformed, "BadFrame: a request has the error bit")
    elseif message.id == 0 and message.opcode ~= GO_AWAY then
        complain(tree, expert_malformed, "BadFrame: the correlation id is 0")
    end
end

-- The layout of the body, if there is one.
local function layout_of(message)
    local known = message.known
    if message.is_error and message.is_answer then
        return "ErrorBody"
    elseif not known or (message.version ~= 1 and message.opcode ~= GO_AWAY) then
        return nil
    elseif message.is_answer then
        return known.answer == nil and known.name .. "Answer" or known.answer or nil
    end
    return known.request == nil and known.name or known.request or nil
end

local function read_body(tree, body, message, layout)
    local reader = body.reader
    -- The limit keeps a list of nothing from filling the tree.
    local to = reader.to
    reader.to = math.min(to, HEADER_BYTES + MAX_CONTROL_BYTES)
    reader.is_limited = reader.to < to
    body:structure(tree, layout)
    reader.to = to
    if body.has_batches then
        add_batches(tree, reader, message, body.lengths)
    end
    if reader:left() > 0 then
        refuse("it goes on for %s after its last field", counted(reader:left(), "byte"))
    end
end

local function add_body(tree, tvb, message)
    local bytes = tvb:raw()
    local reader = Reader.new(tvb, bytes, HEADER_BYTES, #bytes)
    local body, layout = Body.new(reader, message.opcode), layout_of(message)
    message.body = body
    if not layout then
        complain(tree, expert_unknown, "this message, in this version, is not known")
        if reader:left() > 0 then
            tree:add(tvb(HEADER_BYTES), "body: " .. counted(reader:left(), "byte"))
        end
        return
    end
    local problem = refusal(read_body, tree, body, message, layout)
    if not problem then
        return
    elseif tvb:reported_len() > tvb:len() then
        complain(tree, expert_cut, "the rest of the message was not captured")
    else
        complain(tree, expert_malformed, "MalformedBody: " .. problem)
    end
end

local function code_name(code)
    return errors[code] and errors[code][1] or "code " .. tostring(code)
end

-- One line about a message.
local function summary(message)
    local body = message.body
    local words = { message.known and message.known.name or ("opcode 0x%04x"):format(message.opcode) }
    if message.is_answer and message.opcode ~= DELIVER then
        words[#words + 1] = message.is_error and "refused" or "answer"
    end
    if message.id > 0 then
        words[#words + 1] = "#" .. message.id
    end
    if body.code then
        words[#words + 1] = code_name(body.code) .. ":"
        words[#words + 1] = body.message and preview(body.message)
    end
    for _, told in ipairs(body.told) do
        words[#words + 1] = told
    end
    if message.records > 0 then
        words[#words + 1] = counted(message.records, "record")
        words[#words + 1] = message.first_offset and "from " .. tostring(message.first_offset)
    end
    return table.concat(words, " ")
end

local function dissect_frame(tvb, pinfo, tree)
    if tvb:len() < HEADER_BYTES then
        complain(tree, expert_cut, "the rest of the message was not captured")
        return "a message that was cut short"
    end
    local opcode, flags = tvb(4, 2):le_uint(), tvb(7, 1):uint()
    local message = {
        is_answer = opcode >= 0x8000,
        opcode = opcode % 0x8000,
        known = messages[opcode % 0x8000],
        version = tvb(6, 1):uint(),
        flags = flags,
        is_error = flags % 2 == 1,
        id = tvb(8, 4):le_uint(),
        records = 0,
        records_shown = 0,
    }
    add_frame_header(tree, tvb)
    check_frame_header(tree, message)
    add_exchange(tree, pinfo, message)
    add_body(tree, tvb, message)
    local code = message.body.code
    if code then
        complain(tree, expert_refused, ("%s: %s"):format(code_name(code), message.body.message or ""))
    end
    return summary(message)
end

local function dissect_preface(tvb, pinfo, tree)
    forget_earlier(pinfo)
    local shown = tvb:raw(0, 6):gsub("\r", "\\r"):gsub("\n", "\\n"):gsub("[^\32-\126]", ".")
    tree:add(fields.preface, tvb(0, 6), shown)
    tree:add_le(fields["preface.version"], tvb(6, 2))
    if tvb:raw(0, 6) ~= PREFACE then
        complain(tree, expert_malformed, "BadPreface: it begins like one, and goes on otherwise")
    elseif tvb(6, 2):le_uint() ~= 1 then
        complain(tree, expert_malformed, "UnsupportedVersion: the preface's version is not 1")
    end
    return "preface"
end

local function dissect_garbage(tvb, tree)
    local length = tvb(0, 4):le_uint()
    tree:add_le(fields.length, tvb(0, 4))
    local name = length < FRAME_HEADER_BYTES and "FrameTooShort" or "FrameTooLarge"
    complain(tree, expert_malformed, ("%s: a frame's length cannot be %d"):format(name, length))
    return "not a frame"
end

local function is_frame_length(length)
    return length >= FRAME_HEADER_BYTES and length <= MAX_FRAME_BYTES
end

-- How many bytes belong to what starts at `offset`. Behind a length that cannot be, nobody knows where the next frame
-- starts: it takes what there is.
local function unit_length(tvb, _, offset)
    local length = tvb(offset, 4):le_uint()
    if length == PREFACE_AS_LENGTH then
        return PREFACE_BYTES
    elseif is_frame_length(length) then
        return length + 4
    end
    return tvb:len() - offset
end

local function dissect_unit(tvb, pinfo, root)
    local tree = root:add(connectify, tvb())
    local length, text = tvb(0, 4):le_uint(), nil
    if length == PREFACE_AS_LENGTH then
        text = dissect_preface(tvb, pinfo, tree)
    elseif is_frame_length(length) then
        text = dissect_frame(tvb, pinfo, tree)
    else
        text = dissect_garbage(tvb, tree)
    end
    tree:append_text(", " .. text)
    -- Others may have written: those before it in this packet, behind a fence that TCP has put up.
    local info = pinfo.cols.info
    info:append((tostring(info) == "" and "" or "; ") .. text)
    return tvb:len()
end

function connectify.dissector(tvb, pinfo, tree)
    pinfo.cols.protocol = "Connectify"
    pinfo.cols.info:clear()
    dissect_tcp_pdus(tvb, tree, 4, unit_length, dissect_unit)
    return tvb:len()
end

-- ---- registration ----

connectify:register_heuristic("tcp", function(tvb, pinfo, tree)
    if tvb:len() < #PREFACE or tvb:raw(0, #PREFACE) ~= PREFACE then
        return false
    end
    pinfo.conversation = connectify
    connectify.dissector(tvb, pinfo, tree)
    return true
end)

local tcp_ports = DissectorTable.get("tcp.port")
local ports

local function listen_to_ports()
    if ports == connectify.prefs.ports then
        return
    end
    if ports and ports ~= "" then
        tcp_ports:remove(ports, connectify)
    end
    ports = connectify.prefs.ports
    if ports ~= "" then
        tcp_ports:add(ports, connectify)
    end
end

connectify.prefs_changed = listen_to_ports
listen_to_ports()

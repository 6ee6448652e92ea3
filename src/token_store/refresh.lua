-- The decision of `RefreshState::refresh`, on the record as `record.rs` lays it out.
--
-- KEYS: session, marker. ARGV: needed, applied, generation, now, grace, margin, stable (1) or rotating (0).
-- Answers with the marker, the outcome, the record as it is then, and the count of late generations.
local BEHIND, UNKNOWN, ROTATED, REPEATED, REOPENED = 0, 1, 2, 3, 4
local EXPIRED, REPLAYED, AHEAD, KEPT = 5, 6, 7, 8
local REMEMBERED, LATE_LIMIT, LAST_GENERATION = 16, 3, 4294967295
-- The bytes before the first superseded time.
local FIXED = 30

local applied = tonumber(ARGV[2])
local presented, our_now = tonumber(ARGV[3]), tonumber(ARGV[4])
local grace, margin, stable = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1'

local found = redis.call('MGET', KEYS[1], KEYS[2])
local position, went_back_at = unpack_marker(found[2])
if position < tonumber(ARGV[1]) then
    return { position, BEHIND, '', 0 }
end
local record = found[1]
if not record then
    return { position, UNKNOWN, '', 0 }
end
if string.byte(record, 1) ~= 1 then
    return redis.error_reply('ERR a record of another version')
end

local _, generation, late, late_counted, changed_at, idle_ends_at, ends_at, idle, count =
    struct.unpack('>BI4BBI6I6I6I4B', record)
local superseded = {}
for i = 1, count do
    superseded[i] = struct.unpack('>I6', record, FIXED + 1 + (i - 1) * 6)
end
local body = string.sub(record, FIXED + 1 + count * 6)

-- Time inside a record never goes back, whatever a node's clock says.
local now = math.max(our_now, changed_at)

local function in_window(superseded_at)
    return superseded_at ~= nil and now - superseded_at < grace
end

local function unchanged(outcome)
    return { position, outcome, record, late }
end

local function store(outcome, times)
    record = struct.pack('>BI4BBI6I6I6I4B', 1, generation, late, late_counted, now, idle_ends_at, ends_at, idle, #times)
    for i = 1, #times do
        record = record .. struct.pack('>I6', times[i])
    end
    record = record .. body
    local keep = math.max(math.min(idle_ends_at, ends_at) - our_now, 0) + margin
    redis.call('SET', KEYS[1], record, 'PX', keep)
    position = advance(KEYS[2], position, went_back_at, applied)
    return { position, outcome, record, late }
end

local function no_longer_idle()
    idle_ends_at = math.min(now + idle * 1000, ends_at)
end

local function rotate(from, kept)
    if from >= LAST_GENERATION then
        return unchanged(EXPIRED)
    end
    generation = from + 1
    no_longer_idle()
    -- A generation superseded without a late repeat of the one before sets the count back.
    if late_counted == 0 then
        late = 0
    end
    late_counted = 0
    table.insert(kept, 1, now)
    return store(ROTATED, kept)
end

if now >= idle_ends_at or now >= ends_at then
    return unchanged(EXPIRED)
end
if presented > generation then
    if changed_at < went_back_at then
        -- What was counted is of other generations.
        late_counted = 0
        return rotate(presented, {})
    end
    return unchanged(AHEAD)
end
local age = generation - presented
if age == 0 then
    if stable then
        no_longer_idle()
        return store(KEPT, superseded)
    end
    local kept = {}
    for i = 1, count do
        if in_window(superseded[i]) then
            kept[#kept + 1] = superseded[i]
        end
    end
    if #kept >= REMEMBERED then
        return unchanged(REPEATED)
    end
    return rotate(generation, kept)
end
local is_late = not in_window(superseded[age])
if age > 1 then
    if is_late then
        return unchanged(REPLAYED)
    end
    return unchanged(REPEATED)
end
if superseded[1] ~= nil and (now - superseded[1]) * 2 < grace then
    return unchanged(REPEATED)
end
-- The same lost answer counts once.
if is_late and late_counted == 0 then
    late = math.min(late + 1, 255)
    if late >= LATE_LIMIT then
        return unchanged(REPLAYED)
    end
    late_counted = 1
end
superseded[1] = now
return store(REOPENED, superseded)

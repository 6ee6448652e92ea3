-- The marker of a bucket: the position of the revocation log that has been applied to it, and when it was
-- last found behind. Numbers are exact: they are below 2^53 and never become text on the way in or out
-- of a record.
local KEEP = 100 * 24 * 3600 * 1000

local function text(number)
    return string.format('%.0f', number)
end

local function read_marker(key)
    local packed = redis.call('GET', key)
    if not packed then
        return 0, 0
    end
    return struct.unpack('>I8I8', packed)
end

local function write_marker(key, position, went_back_at)
    redis.call('SET', key, struct.pack('>I8I8', position, went_back_at), 'PX', text(KEEP))
end

-- All endings up to `applied` have been applied, since those that the node knows of have.
local function advance(key, position, went_back_at, applied)
    if applied > position then
        write_marker(key, applied, went_back_at)
        return applied
    end
    if position > 0 and redis.call('PTTL', key) < KEEP / 2 then
        redis.call('PEXPIRE', key, text(KEEP))
    end
    return position
end


-- The marker of a bucket: the position of the revocation log that has been applied to it, and when it was
-- last found behind. Numbers are exact: they are below 2^53, which Redis writes out in full.
--
-- It outlives every session: none is longer than a year, and each begins with a marker for more than that.
local KEEP = 800 * 24 * 3600 * 1000

local function unpack_marker(packed)
    if not packed then
        return 0, 0
    end
    return struct.unpack('>I8I8', packed)
end

local function write_marker(key, position, went_back_at)
    redis.call('SET', key, struct.pack('>I8I8', position, went_back_at), 'PX', KEEP)
end

-- All endings up to `applied` have been applied, since those that the node knows of have.
local function advance(key, position, went_back_at, applied)
    if applied <= position then
        return position
    end
    write_marker(key, applied, went_back_at)
    return applied
end

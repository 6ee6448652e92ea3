-- KEYS: session, marker. ARGV: needed, applied, record, time to live.
-- Answers with the marker and whether it was done.
local position, went_back_at = unpack_marker(redis.call('GET', KEYS[2]))
if position < tonumber(ARGV[1]) then
    return { position, 0 }
end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
local advanced = advance(KEYS[2], position, went_back_at, tonumber(ARGV[2]))
if advanced > 0 and redis.call('PTTL', KEYS[2]) < KEEP / 2 then
    redis.call('PEXPIRE', KEYS[2], KEEP)
end
return { advanced, 1 }

-- KEYS: session, marker. ARGV: needed, applied, record, time to live.
-- Answers with the marker and whether it was done.
local position, went_back_at = read_marker(KEYS[2])
if position < tonumber(ARGV[1]) then
    return { position, 0 }
end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return { advance(KEYS[2], position, went_back_at, tonumber(ARGV[2])), 1 }

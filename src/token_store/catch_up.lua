-- KEYS: marker, sessions to delete. ARGV: the marker that they were asked for with, head of the log, now or 0.
-- Answers with the marker.
local position, went_back_at = unpack_marker(redis.call('GET', KEYS[1]))
if position < tonumber(ARGV[1]) then
    return position
end
for i = 2, #KEYS do
    redis.call('UNLINK', KEYS[i])
end
position = math.max(position, tonumber(ARGV[2]))
write_marker(KEYS[1], position, math.max(went_back_at, tonumber(ARGV[3])))
return position

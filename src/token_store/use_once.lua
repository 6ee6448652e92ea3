-- KEYS: entry. ARGV: now, how long a use is remembered, margin.
-- Answers with 0: unknown, 1: first, 2: again, and the entry.
local packed = redis.call('GET', KEYS[1])
if not packed then
    return { 0, '' }
end
local flag, expires_at = struct.unpack('>BI6', packed)
local now, remembered = tonumber(ARGV[1]), expires_at + tonumber(ARGV[2])
if flag == 2 and now < remembered then
    return { 2, packed }
end
if flag == 1 and now < expires_at then
    local used = '\2' .. string.sub(packed, 2)
    local keep = remembered - now + tonumber(ARGV[3])
    redis.call('SET', KEYS[1], used, 'PX', string.format('%.0f', keep))
    return { 1, packed }
end
return { 0, '' }

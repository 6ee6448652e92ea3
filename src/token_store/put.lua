-- KEYS: entry. ARGV: entry, now, how long a use is remembered, time to live. Answers 1 when it was put.
local packed = redis.call('GET', KEYS[1])
if packed then
    local flag, expires_at = struct.unpack('>BI6', packed)
    if flag == 2 then
        expires_at = expires_at + tonumber(ARGV[3])
    end
    if tonumber(ARGV[2]) < expires_at then
        return 0
    end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[4])
return 1

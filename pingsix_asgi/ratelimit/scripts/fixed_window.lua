-- Count one request in a window that starts with the first request of a key.
-- KEYS[1] counter   ARGV[1] cost   ARGV[2] window in seconds
-- Returns the count and the milliseconds until the window ends.
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
  return {tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000}
end
return {redis.call('INCRBY', KEYS[1], ARGV[1]), left}

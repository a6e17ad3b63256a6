-- Count one more request under way; those that were never counted off expire.
-- KEYS[1] sorted set of request ids by when they expire
-- ARGV[1] request id   ARGV[2] now in seconds   ARGV[3] seconds a request may take   ARGV[4] most
-- Returns how many are under way with this one; above the most it is not counted.
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, ARGV[2])
local count = redis.call('ZCARD', KEYS[1]) + 1
if count <= tonumber(ARGV[4]) then
  redis.call('ZADD', KEYS[1], tonumber(ARGV[2]) + tonumber(ARGV[3]), ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
return count

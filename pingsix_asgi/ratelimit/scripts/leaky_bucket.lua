-- Let one request into a bucket that leaks at a rate.
-- KEYS[1] hash with excess and last   ARGV[1] rate per second   ARGV[2] burst   ARGV[3] now in ms
-- Returns the excess in thousandths of a request, or -1 to refuse it; that changes nothing.
local rate, burst, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local state = redis.call('HMGET', KEYS[1], 'excess', 'last')
local excess = 0
if state[1] then
  local elapsed = math.max(now - tonumber(state[2]), 0)
  excess = math.max(tonumber(state[1]) - rate * elapsed + 1000, 0)
  if excess > burst * 1000 then
    return -1
  end
end
redis.call('HSET', KEYS[1], 'excess', tostring(excess), 'last', ARGV[3])
redis.call('EXPIRE', KEYS[1], math.ceil(burst / rate) + 1)
return math.floor(excess)

-- Admit one request if the current window and what is left of the one before allow it.
-- KEYS[1] counter of the current window   KEYS[2] counter of the window before
-- ARGV[1] limit   ARGV[2] cost   ARGV[3] window in seconds   ARGV[4] seconds left in the window
-- Returns both counts as they were and whether the request was counted.
local current = tonumber(redis.call('GET', KEYS[1]) or 0)
local before = tonumber(redis.call('GET', KEYS[2]) or 0)
local limit, cost = tonumber(ARGV[1]), tonumber(ARGV[2])
local window, left = tonumber(ARGV[3]), tonumber(ARGV[4])
if before / window * left + current + cost > limit then
  return {before, current, 0}
end
redis.call('INCRBY', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], math.ceil(2 * window))
return {before, current, 1}

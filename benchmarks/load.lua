-- wrk script. Arguments after "--": routes (0 = one fixed path), delay in ms between the requests of
-- one connection (0 = as fast as it goes). Headers are those of a browser that calls an API.
local requests, count, at, pause = {}, 0, 0, 0

function init(args)
    local routes = tonumber(args[1])
    pause = tonumber(args[2])
    wrk.headers["Origin"] = "https://shop.example"
    wrk.headers["Accept-Encoding"] = "gzip"
    local kinds = { "/r%d/items", "/r%d/items/1234", "/r%d/a/b" }
    count = routes > 0 and 1000 or 1
    for i = 1, count do
        local path = wrk.path
        if routes > 0 then
            local route = ((i - 1) * 7919) % routes
            path = string.format(kinds[route % 3 + 1], route)
        end
        requests[i] = wrk.format("GET", path)
    end
    if pause > 0 then
        math.randomseed(1)
        -- Spread around the mean, so that the connections do not march in step.
        function delay() return math.random(0, 2 * pause) end
    end
end

function request()
    at = at % count + 1
    return requests[at]
end

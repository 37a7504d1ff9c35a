-- SPDX-License-Identifier: MIT
-- Arrays that grow one by one from nothing, of a few to tens of thousands of elements; a table as a queue; strings that grow.

local thread = ...
local seed = thread + 4096

local function random(bound)
    seed = (seed * 1103515245 + 12345) & 0x7fffffff
    return (seed >> 8) % bound + 1
end

local function grow(count)
    local list = {}
    for i = 1, count do
        list[i] = i
    end
    return list
end

local function primes(limit)
    local marked, list = grow(limit), {}
    for i = 2, limit do
        if marked[i] then
            list[#list + 1] = i
            for j = i * i, limit, i do
                marked[j] = false
            end
        end
    end
    return list
end

-- The rows of a table that is read column by column.
local function transpose(rows, columns)
    local result = {}
    for i = 1, rows do
        for j = 1, columns do
            local column = result[j]
            if not column then
                column = {}
                result[j] = column
            end
            column[i] = i * j
        end
    end
    return result
end

return function()
    local checksum = #primes(20000)
    for _ = 1, 2000 do
        checksum = checksum + #grow(random(40))
    end
    for _ = 1, 40 do
        checksum = checksum + #grow(random(2000))
    end
    checksum = checksum + #transpose(60, 80)[80]
    local queue, first = {}, 1
    for i = 1, 5000 do
        queue[#queue + 1] = { i }
        if i % 3 ~= 0 then
            queue[first] = nil
            first = first + 1
        end
    end
    local text = ""
    for i = 1, 1000 do
        text = text .. i
    end
    return checksum + first + #text
end

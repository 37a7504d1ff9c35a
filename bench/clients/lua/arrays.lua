-- SPDX-License-Identifier: MIT
-- Arrays: grown one by one from nothing, of a few to a few hundred thousand elements; matrices; a sieve; strings that grow.

local thread = ...
local seed = thread + 4096

local function random(bound)
    seed = (seed * 1103515245 + 12345) & 0x7fffffff
    return (seed >> 8) % bound + 1
end

local function matrix(size)
    local rows = {}
    for i = 1, size do
        local row = {}
        for j = 1, size do
            row[j] = random(100)
        end
        rows[i] = row
    end
    return rows
end

local function product(a, b)
    local size, result = #a, {}
    for i = 1, size do
        local row, line = {}, a[i]
        for j = 1, size do
            local sum = 0
            for k = 1, size do
                sum = sum + line[k] * b[k][j]
            end
            row[j] = sum
        end
        result[i] = row
    end
    return result
end

local function primes(limit)
    local marked, list = {}, {}
    for i = 1, limit do
        marked[i] = true
    end
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

return function()
    local checksum = #primes(60000)
    for _ = 1, 3000 do
        local list = {}
        for i = 1, random(40) do
            list[i] = i
        end
        checksum = checksum + #list
    end
    local result = product(matrix(40), matrix(40))
    checksum = checksum + result[1][1] + result[40][40]
    local text = ""
    for i = 1, 1000 do
        text = text .. i
    end
    return checksum + #text
end

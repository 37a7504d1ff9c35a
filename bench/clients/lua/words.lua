-- SPDX-License-Identifier: MIT
-- Text: words are made, joined into lines, found again, counted, sorted, rewritten.

local thread = ...
local seed = thread + 482

local function random(bound)
    seed = (seed * 1103515245 + 12345) & 0x7fffffff
    return (seed >> 8) % bound + 1
end

local syllables = { "ba", "cor", "di", "fen", "gu", "hal", "ki", "lo", "mar", "ne", "po", "qui", "ras", "tu", "ver", "zo" }

local function word()
    local parts = {}
    for i = 1, random(5) do
        parts[i] = syllables[random(#syllables)]
    end
    return table.concat(parts)
end

local function text(count)
    local lines, line = {}, {}
    for _ = 1, count do
        line[#line + 1] = word()
        if #line == 12 then
            lines[#lines + 1] = table.concat(line, " ")
            line = {}
        end
    end
    return table.concat(lines, "\n")
end

return function()
    local counts, list = {}, {}
    local written = text(9000)
    for found in written:gmatch("%a+") do
        local entry = counts[found]
        if not entry then
            entry = { word = found, count = 0 }
            counts[found] = entry
            list[#list + 1] = entry
        end
        entry.count = entry.count + 1
    end
    table.sort(list, function(a, b)
        return a.count > b.count or a.count == b.count and a.word < b.word
    end)
    local other = written:gsub("(%a+) (%a+)", "%2-%1"):upper()
    local checksum = #other
    for i, entry in ipairs(list) do
        checksum = checksum + i * entry.count + entry.word:byte()
    end
    return checksum
end

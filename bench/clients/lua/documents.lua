-- SPDX-License-Identifier: MIT
-- Documents: a store of them as nested tables; one at a time is written as text, read again, and takes another's place.

local thread = ...
local seed = thread + 2014

local function random(bound)
    seed = (seed * 1103515245 + 12345) & 0x7fffffff
    return (seed >> 8) % bound + 1
end

local write

local writers = {
    number = tostring,
    boolean = tostring,
    string = function(value)
        return '"' .. value .. '"'
    end,
    table = function(value)
        local parts = {}
        if value[1] ~= nil then
            for i, item in ipairs(value) do
                parts[i] = write(item)
            end
            return "[" .. table.concat(parts, ",") .. "]"
        end
        local keys = {}
        for key in pairs(value) do
            keys[#keys + 1] = key
        end
        table.sort(keys)
        for i, key in ipairs(keys) do
            parts[i] = '"' .. key .. '":' .. write(value[key])
        end
        return "{" .. table.concat(parts, ",") .. "}"
    end,
}

function write(value)
    return writers[type(value)](value)
end

local read

local function read_object(text, at)
    local object = {}
    while text:byte(at) ~= 125 do
        local key, after = text:match('^,?"([^"]*)":()', at)
        object[key], at = read(text, after)
    end
    return object, at + 1
end

local function read_array(text, at)
    local array = {}
    while text:byte(at) ~= 93 do
        array[#array + 1], at = read(text, text:byte(at) == 44 and at + 1 or at)
    end
    return array, at + 1
end

function read(text, at)
    local head = text:byte(at)
    if head == 123 then
        return read_object(text, at + 1)
    elseif head == 91 then
        return read_array(text, at + 1)
    elseif head == 34 then
        return text:match('^"([^"]*)"()', at)
    end
    local name, after = text:match("^(%a+)()", at)
    if name then
        return name == "true", after
    end
    local digits, behind = text:match("^([%-%d%.]+)()", at)
    return tonumber(digits), behind
end

local function invent(number)
    local items = {}
    for i = 1, 4 + random(12) do
        items[i] = {
            id = random(1000000),
            name = "item " .. random(5000),
            price = random(10000) / 4,
            stock = random(2) == 1,
            tags = { "tag" .. random(40), "tag" .. random(40), "tag" .. random(40) },
        }
    end
    return { number = number, customer = { name = "customer " .. random(900), city = "city " .. random(90) }, items = items }
end

local store = {}
for i = 1, 3000 do
    store[i] = invent(i)
end

local function total(document)
    local sum = 0
    for _, item in ipairs(document.items) do
        sum = sum + item.id + #item.name + #item.tags
    end
    return sum
end

return function()
    local checksum = 0
    for i = 1, 100 do
        local text = write(store[random(#store)])
        store[random(#store)] = read(text, 1)
        store[random(#store)] = invent(i)
        for _ = 1, 5 do
            checksum = checksum + total(store[random(#store)])
        end
        checksum = checksum + #text
    end
    return checksum
end

-- SPDX-License-Identifier: MIT
-- A simulation: objects with methods, closures as events in a heap by time, queues that grow and shrink.

local thread = ...
local seed = thread + 616

local function random(bound)
    seed = (seed * 1103515245 + 12345) & 0x7fffffff
    return (seed >> 8) % bound + 1
end

local Queue = {}
Queue.__index = Queue

function Queue.new()
    return setmetatable({ first = 1, last = 0, items = {} }, Queue)
end

function Queue:push(item)
    self.last = self.last + 1
    self.items[self.last] = item
end

function Queue:pop()
    local item = self.items[self.first]
    if item ~= nil then
        self.items[self.first] = nil
        self.first = self.first + 1
    end
    return item
end

local Agenda = {}
Agenda.__index = Agenda

function Agenda.new()
    return setmetatable({ size = 0, now = 0 }, Agenda)
end

function Agenda:add(delay, action)
    local event = { time = self.now + delay, action = action }
    local place = self.size + 1
    self.size = place
    while place > 1 and self[place // 2].time > event.time do
        self[place] = self[place // 2]
        place = place // 2
    end
    self[place] = event
end

function Agenda:next()
    local event, last = self[1], self[self.size]
    self[self.size] = nil
    self.size = self.size - 1
    local place = 1
    while 2 * place <= self.size do
        local child = 2 * place
        if child < self.size and self[child + 1].time < self[child].time then
            child = child + 1
        end
        if self[child].time >= last.time then
            break
        end
        self[place] = self[child]
        place = child
    end
    if self.size > 0 then
        self[place] = last
    end
    self.now = event.time
    return event
end

local agenda = Agenda.new()
local queues = {}
for i = 1, 50 do
    queues[i] = Queue.new()
end

local served = 0

local function arrive(number, at)
    return function()
        local queue = queues[number]
        queue:push({ from = number, to = random(#queues), since = at })
        agenda:add(random(40), function()
            local customer = queue:pop()
            if customer then
                served = served + agenda.now - customer.since
                agenda:add(random(20), arrive(customer.to, agenda.now))
            end
        end)
    end
end

for i = 1, 20000 do
    agenda:add(random(100), arrive(random(#queues), i))
end

return function()
    for _ = 1, 10000 do
        agenda:next().action()
    end
    return served + agenda.size
end

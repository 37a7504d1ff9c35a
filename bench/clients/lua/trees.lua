-- SPDX-License-Identifier: MIT
-- Binary trees: one that lives long, and many that are made, walked and dropped.

local function make(depth, label)
    if depth == 0 then
        return { label = label }
    end
    return { left = make(depth - 1, 2 * label), right = make(depth - 1, 2 * label + 1), label = label }
end

local function sum(node)
    if not node.left then
        return node.label
    end
    return sum(node.left) + node.label + sum(node.right)
end

local lasting = make(16, 1)

return function()
    local total = 0
    for i = 1, 8 do
        total = total + sum(make(11, i))
    end
    for i = 1, 200 do
        total = total + sum(make(5, i))
    end
    return total + sum(lasting)
end

/* SPDX-License-Identifier: MIT
 *
 * Lua, as its package ships it: a state per thread, with an allocation function that frees by size. A program is the
 * file FILE, a chunk that is called with the thread's number and returns a function; that works one round and
 * returns an integer.
 */
#include "harness.h"

#include SHIM

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <stdlib.h>

static void *allocate(void *shim, void *block, size_t old_size, size_t size)
{
    if (block == NULL)
        return size == 0 ? NULL : shim_alloc(shim, size);
    if (size != 0)
        return shim_resize(shim, block, old_size, size);
    shim_free_sized(shim, block, old_size);
    return NULL;
}

static void call(lua_State *lua, int arguments)
{
    if (lua_pcall(lua, arguments, 1, 0) != LUA_OK)
        fail("lua: %s", lua_tostring(lua, -1));
}

void *client_open(const char *program, const char *path, unsigned thread)
{
    if (path == NULL)
        fail("lua: %s has no file", program);
    lua_State *lua = lua_newstate(allocate, shim_open());
    if (lua == NULL)
        fail("lua: no state");
    luaL_openlibs(lua);
    if (luaL_loadfile(lua, path) != LUA_OK)
        fail("lua: %s", lua_tostring(lua, -1));
    lua_pushinteger(lua, (lua_Integer)thread);
    call(lua, 1);
    return lua;
}

uint64_t client_round(void *state)
{
    lua_State *lua = state;
    lua_pushvalue(lua, -1);
    call(lua, 0);
    uint64_t checksum = (uint64_t)luaL_checkinteger(lua, -1);
    lua_pop(lua, 1);
    return checksum;
}

void client_close(void *state)
{
    lua_close(state);
}

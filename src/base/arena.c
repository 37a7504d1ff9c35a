/* SPDX-License-Identifier: MIT */
#include "base/arena.h"
#include "base/os.h"

#define CHUNK_BYTES (64 * FLI_KIB)

struct fli_arena_chunk {
    struct fli_arena_chunk *older;
    size_t bytes; /* of the whole chunk */
    size_t used;  /* of these, this head included */
};

enum { HEAD_BYTES = (sizeof(struct fli_arena_chunk) + 15) & ~15 };

/* Makes a chunk the newest that has room for so many bytes. Returns false if the OS refuses. */
static bool grow(struct fli_arena *arena, size_t room)
{
    size_t bytes = fli_max(CHUNK_BYTES, fli_round_up(HEAD_BYTES + room, fli_os_page()));
    struct fli_arena_chunk *chunk = fli_os_map(bytes);
    if (chunk == NULL)
        return false;
    *chunk = (struct fli_arena_chunk){.older = arena->newest, .bytes = bytes, .used = HEAD_BYTES};
    arena->newest = chunk;
    return true;
}

void *fli_arena_take(struct fli_arena *arena, size_t bytes)
{
    size_t taken = fli_round_up(bytes, 16);
    struct fli_arena_chunk *chunk = arena->newest;
    if ((chunk == NULL || chunk->bytes - chunk->used < taken) && !grow(arena, taken))
        return NULL;
    chunk = arena->newest;
    chunk->used += taken;
    return (char *)chunk + chunk->used - taken;
}

void fli_arena_clear(struct fli_arena *arena)
{
    while (arena->newest != NULL) {
        struct fli_arena_chunk *chunk = arena->newest;
        arena->newest = chunk->older;
        fli_os_unmap(chunk, chunk->bytes);
    }
}

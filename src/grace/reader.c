/* SPDX-License-Identifier: MIT */
#include "grace/reader.h"

static void see(struct fli_reader *reader, const struct fli_grace *grace)
{
    uint64_t begun;
    fli_store_own(&reader->seen, grace->readers->latest(&begun));
}

void fli_reader_add_handle(struct fli_reader *reader, const struct fli_grace *grace)
{
    unsigned handles = fli_load_own(&reader->handles);
    fli_store_own(&reader->handles, handles + 1);
    if (handles > 0 || grace->readers == NULL)
        return;
    see(reader, grace);
    reader->calls = grace->readers;
    if (reader->joined) {
        grace->readers->online();
    } else if (!reader->foreign) {
        reader->joined = grace->readers->join();
        reader->foreign = !reader->joined;
    }
}

void fli_reader_close(struct fli_reader *reader)
{
    if (reader->joined)
        reader->calls->leave();
    reader->joined = reader->foreign = false;
}

void fli_reader_remove_handle(struct fli_reader *reader, const struct fli_grace *grace, bool detached)
{
    unsigned handles = fli_load_own(&reader->handles) - 1;
    fli_store_own(&reader->handles, handles);
    if (handles > 0)
        return;
    if (detached)
        fli_reader_close(reader);
    else if (reader->joined)
        grace->readers->offline();
}

void fli_reader_lock(struct fli_reader *reader, const struct fli_grace *grace)
{
    unsigned sections = fli_load_own(&reader->sections);
    fli_store_own(&reader->sections, sections + 1);
    if (grace->readers == NULL)
        return;
    if (sections == 0 && grace->kind == FL_GRACE_BP)
        see(reader, grace);
    grace->readers->lock();
}

void fli_reader_unlock(struct fli_reader *reader, const struct fli_grace *grace)
{
    fli_store_own(&reader->sections, fli_load_own(&reader->sections) - 1);
    if (grace->readers != NULL)
        grace->readers->unlock();
}

void fli_reader_end_sections(struct fli_reader *reader, const struct fli_grace *grace)
{
    for (unsigned sections = fli_load_own(&reader->sections); sections > 0; sections--)
        if (fli_grace_is_inside(grace))
            grace->readers->unlock();
    fli_store_own(&reader->sections, 0);
}

void fli_reader_quiescent(struct fli_reader *reader, const struct fli_grace *grace)
{
    if (grace->readers == NULL)
        return;
    see(reader, grace);
    grace->readers->quiescent();
}

bool fli_reader_holds_up(const struct fli_reader *reader, enum fl_grace kind, int64_t number)
{
    unsigned depth = fli_load_hint(kind == FL_GRACE_BP ? &reader->sections : &reader->handles);
    return depth > 0 && fli_load_hint(&reader->seen) < number;
}

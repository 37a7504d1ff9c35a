/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* dl_iterate_phdr */

#include "base/pin.h"
#include "base/base.h"
#include "base/lock.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>

/* Weak, because older C libraries have dlsym in a separate library, which a process that loads plug-ins has loaded.
 * dlopen is looked up by dlsym, because linkers warn of a statically linked program that names dlopen. */
extern __typeof__(dlsym) dlsym __attribute__((weak));

typedef void *open_function(const char *name, int mode);

static FLI_ATOMIC(bool) pinned;

static bool is_within(const struct dl_phdr_info *object, uintptr_t address)
{
    for (unsigned i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && address - (object->dlpi_addr + segment->p_vaddr) < segment->p_memsz)
            return true;
    }
    return false;
}

/* Finds the name of the object that this file is part of. */
static int find_own(struct dl_phdr_info *object, size_t size, void *name)
{
    (void)size;
    if (!is_within(object, (uintptr_t)&pinned))
        return 0;
    *(const char **)name = object->dlpi_name;
    return 1;
}

/* Opens the object once more. The handle is never closed, so the object stays loaded. */
static void pin(void)
{
    const char *name = NULL;
    dl_iterate_phdr(find_own, &name);
    if (name == NULL || *name == '\0' || dlsym == NULL) /* the program itself has no name */
        return;
    open_function *open = (open_function *)dlsym(RTLD_DEFAULT, "dlopen");
    if (open != NULL)
        open(name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

void fli_pin_object(void)
{
    /* Relaxed: the word publishes nothing, and to pin twice does no harm. It is set first, because dlopen may allocate,
     * and the host's malloc may call the library. */
    if (fli_load_relaxed(&pinned))
        return;
    fli_store_relaxed(&pinned, true); /* relaxed: as above */
    int saved = errno, state = fli_cancel_off();
    pin();
    fli_cancel_restore(state);
    errno = saved;
}

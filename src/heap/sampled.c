/* SPDX-License-Identifier: MIT */
#include "heap/sampled.h"

/* A record that is not in use. NULL if memory is refused. */
static struct fli_sample *take_record(struct fli_sampled *sampled)
{
    struct fli_sample *sample = sampled->unused;
    if (sample == NULL)
        return (struct fli_sample *)fli_arena_take(&sampled->arena, sizeof *sample);
    sampled->unused = sample->next;
    return sample;
}

bool fli_sampled_enter(struct fli_sampled *sampled, const void *block, struct fli_site *site)
{
    FLI_ATOMIC(struct fli_sample *) *head = &sampled->heads[fli_sampled_head(block)];
    struct fli_sample *sample = take_record(sampled);
    if (sample == NULL)
        return false;
    sample->block = block;
    sample->site = site;
    sample->next = fli_load_own(head);
    fli_store_hint(head, sample);
    sampled->count = sampled->count + 1;
    return true;
}

/* Takes a sample out of the list of a head; `before` is what comes before it there, NULL if it is the first. */
static struct fli_site *take_out(struct fli_sampled *sampled, FLI_ATOMIC(struct fli_sample *) * head,
                                 struct fli_sample *before, struct fli_sample *sample)
{
    struct fli_sample *next = sample->next;
    if (before != NULL)
        before->next = next;
    else
        fli_store_hint(head, next);
    sample->next = sampled->unused;
    sampled->unused = sample;
    sampled->count = sampled->count - 1;
    return sample->site;
}

struct fli_site *fli_sampled_remove(struct fli_sampled *sampled, const void *block)
{
    FLI_ATOMIC(struct fli_sample *) *head = &sampled->heads[fli_sampled_head(block)];
    struct fli_sample *before = NULL, *sample = fli_load_own(head);
    for (; sample != NULL; before = sample, sample = sample->next)
        if (sample->block == block)
            return take_out(sampled, head, before, sample);
    return NULL;
}

void fli_sampled_clear(struct fli_sampled *sampled)
{
    for (size_t i = 0; i < FLI_SAMPLED_HEADS; i++)
        if (fli_load_own(&sampled->heads[i]) != NULL)
            fli_store_hint(&sampled->heads[i], NULL);
    sampled->unused = NULL;
    sampled->count = 0;
    fli_arena_clear(&sampled->arena);
}

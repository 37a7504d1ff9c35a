/* SPDX-License-Identifier: MIT
 *
 * What the files of the storm share; storm.c says what the storm is.
 *
 *     site    a heap, and the places where threads leave what others find: mailboxes, slots, handles
 *     seat    what a life has at a site: a handle, and what it holds there
 *     life    one short-lived OS thread with its seats
 *
 * A block says what it is in its first words (struct cargo), so that whoever finds it can check it and end it. A
 * reference to it (storm_ref) is its address with 16 bits of its serial number on top: of two owners of one block, one
 * finds that the numbers differ.
 */
#ifndef FREELANE_STORM_H
#define FREELANE_STORM_H

#include "../stress.h"

#include <freelane/object.h>

/* ---- Payloads (payload.c) ------------------------------------------------------------------------------------- */

enum storm_kind {
    KIND_BLOCK, /* no type */
    KIND_PLAIN,
    KIND_CLEAR,
    KIND_SOME, /* clear_some */
    KIND_FINALIZE,
    KIND_LEGACY,
    KIND_LATER,
    KIND_LATER_FINALIZE,
    KIND_ANY, /* its kind is said when it dies */
    KIND_VARIABLE,
    KIND_AT_ONCE,
    KIND_LARGE,   /* above FL_BLOCK_MAX */
    KIND_ALIGNED, /* to 256 bytes */
    KINDS,
};

/* The first words of a block: what it is, sealed by a word that depends on these and on the address. */
struct cargo {
    uint64_t seal;
    uint64_t tag; /* serial: 28 bits; kind: 8; variant: 4; size: 24 */
};

typedef uint64_t storm_ref; /* 0: none */

/* Writes the words and fills what lies behind them up to `size`, but for the `skip` bytes that are the program's. */
storm_ref storm_seal(struct cargo *cargo, enum storm_kind kind, unsigned variant, size_t size, size_t skip,
                     struct stress_rng *rng);
/* Fails unless the words and the pattern are as they were written. */
void storm_verify(const struct cargo *cargo, size_t skip);
/* The block of a reference, which it must have the serial number of. */
struct cargo *storm_open(storm_ref ref);
/* Breaks the seal of a block that is about to be freed: then nobody takes it for one that lives. */
void storm_break(struct cargo *cargo);

static inline size_t storm_size(const struct cargo *cargo)
{
    return cargo->tag & 0xffffff;
}

static inline unsigned storm_variant(const struct cargo *cargo)
{
    return cargo->tag >> 24 & 0xf;
}

static inline enum storm_kind storm_kind(const struct cargo *cargo)
{
    return (enum storm_kind)(cargo->tag >> 28 & 0xff);
}

static inline uint64_t storm_serial(const struct cargo *cargo)
{
    return cargo->tag >> 36;
}

/* ---- Sites (site.c) --------------------------------------------------------------------------------------------- */

enum { MAILBOXES = 64, SLOTS = 64, HANDLES = 4, VISITED = 3 };

/* The sites that stay. */
enum { SITE_PLAIN, SITE_LATER, SITE_LIMITED, SITE_KEPT, SITE_DEFAULT, SITE_COUNTED, SITES };

typedef _Atomic(storm_ref) storm_place;

struct site {
    const char *name;
    struct fl_heap *heap;
    struct fl_options options;
    bool counted;    /* its objects have reference counts (objects.c) */
    bool is_default; /* the process's default heap, used through fl_thread_self */
    storm_place mailboxes[MAILBOXES];
    storm_place slots[SLOTS];                      /* what readers without locks look at */
    _Atomic(struct fl_object *) posted[MAILBOXES]; /* the same two of a counted site */
    _Atomic(struct fl_object *) published[SLOTS];
    _Atomic(struct fl_thread *) handles[HANDLES]; /* offline ones that a life has left to another */
    struct fl_stats last;                         /* the witness's */
    unsigned visitors;                            /* of a site that comes and goes */
    bool closed;                                  /* the last visitor destroys it */
};

extern struct site storm_sites[SITES]; /* those that stay */

void storm_sites_open(void);
/* Ends what is left at the sites and requires that all is balanced. No other thread is there. */
void storm_sites_finish(void);

/* Sites that come and go: opens one with options drawn at random, and closes one. Whoever leaves it last destroys it. */
void storm_visited_open(struct stress_rng *rng);
void storm_visited_close(uint64_t choice);
struct site *storm_visited_enter(uint64_t choice); /* one of them, or NULL */
void storm_visited_leave(struct site *site);
/* Calls the function for each site, those that come and go included, which stay meanwhile. */
void storm_sites_each(void (*function)(struct site *site, void *context), void *context);
/* Their list stays as it is while the process forks. */
void storm_visited_lock(void);
void storm_visited_unlock(void);

static inline bool site_has_grace(const struct site *site)
{
    return site->options.grace != FL_GRACE_NONE;
}

/* The site may refuse memory. */
static inline bool site_is_limited(const struct site *site)
{
    return site->options.limit_bytes != 0 || site->options.reserve_bytes != 0;
}

/* Ends all that lies at the places of a site, as the thread of the handle. */
void storm_site_empty(struct site *site, struct fl_thread *thread);

/* ---- Kinds (kinds.c) ---------------------------------------------------------------------------------------------- */

enum { CHILDREN = 4, VARIANTS = 3 };

/* The block of a type. */
struct node {
    struct cargo cargo;
    struct site *site;
    uint64_t words[2]; /* the library's, while a dead object waits */
    storm_ref children[CHILDREN];
    unsigned char finalized;
    bool deferred;  /* readers may still look at it */
    uint16_t below; /* how many nodes hang on it, at most */
};

void storm_types_ready(void);
extern struct fl_type storm_types[KINDS][VARIANTS];
const char *storm_kind_name(const struct cargo *cargo);

/* The bytes of a block that the program uses for other things than its pattern. */
size_t storm_skip(const struct cargo *cargo);

/* An instance without children; 0 if the site refuses the memory. */
storm_ref storm_node_make(struct site *site, struct fl_thread *thread, enum storm_kind kind, struct stress_rng *rng);
/* Hangs a block on a node if it may hang there. */
bool storm_node_adopt(storm_ref parent, storm_ref child);
/* Verifies a block and ends it, in a way that its serial number decides. `deferred`: readers may look at it. */
void storm_drop(struct site *site, struct fl_thread *thread, storm_ref ref, bool deferred);

/* ---- What a life does at a seat (work.c, objects.c) --------------------------------------------------------------- */

enum { HELD = 48 };

struct seat {
    struct site *site; /* NULL: none */
    struct fl_thread *thread;
    storm_ref held[HELD];
    struct fl_object *objects[HELD];
};

void storm_seat_begin(struct seat *seat, struct site *site, struct fl_thread *thread);
struct fl_thread *storm_seat_thread(const struct seat *seat);
/* One step; `rng` is the step's own. */
void storm_work(struct seat *seat, struct stress_rng *rng);
void storm_object_work(struct seat *seat, struct stress_rng *rng);
/* Verifies what is held. */
void storm_seat_verify(const struct seat *seat);
/* Leaves what is held to others, and ends the rest. */
void storm_seat_empty(struct seat *seat, struct stress_rng *rng);
/* Runs what is pending and merges what was handed over, until nothing is left. */
void storm_settle(struct site *site, struct fl_thread *thread);

void storm_object_types_ready(void);
void storm_object_verify(const struct fl_object *object);
struct cargo *storm_object_cargo(const struct fl_object *object);

/* ---- Lives (life.c) ------------------------------------------------------------------------------------------------ */

/* Raises one life after the other until the storm is over. */
void *storm_line(void *argument); /* struct stress_worker */
/* The calling life's seat at a site, or NULL. */
struct seat *storm_seat_here(const struct site *site);
/* Asks for a fork by one of the lives. */
void storm_fork_ask(void);

/* ---- Stopping the world (gate.c) ----------------------------------------------------------------------------------- */

enum gate_level {
    GATE_OPEN,
    GATE_THREADS, /* threads with handles stand outside the library; others go on, and threads may exit */
    GATE_WORLD    /* nobody else does anything */
};

enum gate_part { PART_LIFE, PART_EXIT, PART_BYSTANDER, PARTS };

void gate_enter(enum gate_part part);
void gate_leave(enum gate_part part);
void gate_become_exiting(void);           /* from PART_LIFE to PART_EXIT */
bool gate_is_closed(enum gate_part part); /* it is to leave and enter again */
void gate_close(enum gate_level level);
void gate_open(void);

/* ---- The rest ------------------------------------------------------------------------------------------------------- */

extern struct stress_args storm_args;
bool storm_is_over(void);
extern bool storm_is_child; /* of a fork: a kind of grace periods may have ended */

/* Changes the weather until the time is up (director.c). */
void storm_direct(void);

/* Forks and requires that the child is well (child.c). */
void storm_fork_beside(struct seat *seats, unsigned count);
void storm_fork_stopped(void);
void storm_fork_quiet(void);

/* Verifies a site of a stopped world: every live block of its heap (director.c). */
void storm_site_walk(struct site *site, bool census);

void *storm_witness(void *unused);
void *storm_broom(void *unused);

/* The two crowds (crowd.c). */
void storm_crowd(unsigned alive);
void storm_born(unsigned born);

/* What has happened, for the last line of a run. */
enum tally {
    TALLY_LIVES,
    TALLY_STEPS,
    TALLY_REMOTE,
    TALLY_DEFERRED,
    TALLY_READS,
    TALLY_LATER,
    TALLY_RESURRECTED,
    TALLY_MOVED,
    TALLY_REFUSED,
    TALLY_COUNTED,
    TALLY_LATE,
    TALLY_HANDED,
    TALLY_VISITS,
    TALLY_STOPS,
    TALLY_WALKED,
    TALLY_FORKS,
    TALLY_TRACED,
    TALLY_SAMPLES,
    TALLY_TRIMS,
    TALLY_HEAPS,
    TALLY_HOOKS,
    TALLY_STALLS,
    TALLY_LOOKS,
    TALLIES,
};

extern atomic_ulong storm_tally[TALLIES];

static inline void tally(enum tally which, unsigned long count)
{
    atomic_fetch_add_explicit(&storm_tally[which], count, memory_order_relaxed);
}

#endif

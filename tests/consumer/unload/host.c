/* SPDX-License-Identifier: MIT
 *
 * A host that knows nothing of Freelane loads a plug-in that carries it, and unloads it.
 *
 * usage: host <plug-in> exit|fork|keys|bp|qsbr
 *
 *     exit       a thread that used the plug-in exits after it was unloaded
 *     fork       a fork after it was unloaded
 *     keys       it is loaded and unloaded 100 times where 50 keys of threads are left: so many are left at the end,
 *                and its heap from the first time
 *     bp, qsbr   exit, with grace periods of that kind and so with their helper thread
 */
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 100, SPARE_KEYS = 50, SECONDS = 100, GRACE_NONE = 0, GRACE_QSBR = 1, GRACE_BP = 2 };

#define EXPECT(condition)                                                                                            \
    do {                                                                                                             \
        if (!(condition)) {                                                                                          \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                  \
            exit(1);                                                                                                 \
        }                                                                                                            \
    } while (0)

static const char *path;

static void *load(void)
{
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (plugin == NULL)
        fprintf(stderr, "%s\n", dlerror());
    EXPECT(plugin != NULL);
    return plugin;
}

static int call_use(void *plugin, int grace)
{
    int (*use)(int) = (int (*)(int))dlsym(plugin, "plugin_use");
    EXPECT(use != NULL);
    return use(grace);
}

static int call_keep(void *plugin)
{
    int (*keep)(void) = (int (*)(void))dlsym(plugin, "plugin_keep");
    EXPECT(keep != NULL);
    return keep();
}

static size_t call_kept_blocks(void *plugin)
{
    size_t (*kept_blocks)(void) = (size_t(*)(void))dlsym(plugin, "plugin_kept_blocks");
    EXPECT(kept_blocks != NULL);
    return kept_blocks();
}

/* A thread that loads the plug-in and uses it, and exits when it has been unloaded. */
struct user {
    int grace;
    void *plugin;
    pthread_t thread;
    sem_t used, unloaded;
};

static void *use_and_exit(void *argument)
{
    struct user *user = argument;
    user->plugin = load();
    EXPECT(call_use(user->plugin, user->grace) == 0);
    EXPECT(call_keep(user->plugin) == 0);
    sem_post(&user->used);
    while (sem_wait(&user->unloaded) != 0)
        ;
    return NULL;
}

static void unload_while_used(int grace, void (*then)(void))
{
    struct user user = {.grace = grace};
    EXPECT(sem_init(&user.used, 0, 0) == 0 && sem_init(&user.unloaded, 0, 0) == 0);
    EXPECT(pthread_create(&user.thread, NULL, use_and_exit, &user) == 0);
    while (sem_wait(&user.used) != 0)
        ;
    EXPECT(dlclose(user.plugin) == 0);
    if (then != NULL)
        then();
    sem_post(&user.unloaded);
    EXPECT(pthread_join(user.thread, NULL) == 0);
    void *again = load();
    EXPECT(call_kept_blocks(again) == 1);
    EXPECT(call_use(again, grace) == 0);
    EXPECT(dlclose(again) == 0);
}

static void fork_now(void)
{
    pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        void *plugin = load();
        _exit(call_kept_blocks(plugin) == 1 && call_use(plugin, GRACE_NONE) == 0 ? 0 : 1);
    }
    int status;
    EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
}

static pthread_key_t keys[PTHREAD_KEYS_MAX];

/* Takes all keys that there are. Returns how many. */
static unsigned take_keys(void)
{
    unsigned count = 0;
    while (count < PTHREAD_KEYS_MAX && pthread_key_create(&keys[count], NULL) == 0)
        count++;
    return count;
}

/* Gives the first `count` of those that were taken back. */
static void give_back_keys(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        EXPECT(pthread_key_delete(keys[i]) == 0);
}

static void load_again_and_again(void)
{
    EXPECT(take_keys() > SPARE_KEYS);
    give_back_keys(SPARE_KEYS);
    for (size_t round = 1; round <= ROUNDS; round++) {
        void *plugin = load();
        EXPECT(call_use(plugin, GRACE_NONE) == 0);
        EXPECT(call_keep(plugin) == 0);
        EXPECT(call_kept_blocks(plugin) == round);
        EXPECT(dlclose(plugin) == 0);
    }
    /* One is the library's, and one may be liburcu's. */
    EXPECT(take_keys() + 2 >= SPARE_KEYS);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    path = argv[1];
    alarm(SECONDS);
    if (strcmp(argv[2], "exit") == 0)
        unload_while_used(GRACE_NONE, NULL);
    else if (strcmp(argv[2], "fork") == 0)
        unload_while_used(GRACE_NONE, fork_now);
    else if (strcmp(argv[2], "qsbr") == 0)
        unload_while_used(GRACE_QSBR, NULL);
    else if (strcmp(argv[2], "bp") == 0)
        unload_while_used(GRACE_BP, fork_now);
    else if (strcmp(argv[2], "keys") == 0)
        load_again_and_again();
    else
        return 2;
    return 0;
}

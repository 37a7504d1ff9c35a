/* SPDX-License-Identifier: MIT
 *
 * Deferral as a user of liburcu writes it: objects of malloc with a struct rcu_head inside, and call_rcu with a
 * callback that calls free.
 */
#ifndef FREELANE_BENCH_CALL_RCU_H
#define FREELANE_BENCH_CALL_RCU_H

#include "workloads/grace.h"

#include <urcu/call-rcu.h>
#include <urcu/flavor.h>

#include <atomic>
#include <cstdlib>

/* The headers declare one flavor of a program at most. */
extern "C" {
extern const struct rcu_flavor_struct urcu_qsbr_flavor, urcu_bp_flavor;
struct call_rcu_data *urcu_qsbr_create_call_rcu_data(unsigned long flags, int cpu_affinity);
void urcu_qsbr_set_thread_call_rcu_data(struct call_rcu_data *data);
void urcu_qsbr_call_rcu_data_free(struct call_rcu_data *data);
struct call_rcu_data *urcu_bp_create_call_rcu_data(unsigned long flags, int cpu_affinity);
void urcu_bp_set_thread_call_rcu_data(struct call_rcu_data *data);
void urcu_bp_call_rcu_data_free(struct call_rcu_data *data);
}

namespace bench
{

/* One flavor. */
struct QsbrFlavor {
    static constexpr bool kSections = false;
    static constexpr const char *kName = "call_rcu";
    static constexpr const struct rcu_flavor_struct *rcu = &urcu_qsbr_flavor;
    static constexpr auto create = urcu_qsbr_create_call_rcu_data;
    static constexpr auto set = urcu_qsbr_set_thread_call_rcu_data;
    static constexpr auto destroy = urcu_qsbr_call_rcu_data_free;
};

struct BpFlavor {
    static constexpr bool kSections = true;
    static constexpr const char *kName = "call_rcu-bp";
    static constexpr const struct rcu_flavor_struct *rcu = &urcu_bp_flavor;
    static constexpr auto create = urcu_bp_create_call_rcu_data;
    static constexpr auto set = urcu_bp_set_thread_call_rcu_data;
    static constexpr auto destroy = urcu_bp_call_rcu_data_free;
};

/* A thread with a worker of its own, which is faster than to share the default one. */
template <class Flavor> class CallRcu
{
  public:
    static const char *name()
    {
        return Flavor::kName;
    }

    CallRcu() : worker_(Flavor::create(0, -1))
    {
        if constexpr (!Flavor::kSections)
            Flavor::rcu->register_thread();
        Flavor::set(worker_);
        freed_by_worker.store(0, std::memory_order_relaxed);
    }
    ~CallRcu()
    {
        Flavor::rcu->barrier();
        Flavor::set(nullptr);
        Flavor::destroy(worker_);
        if constexpr (!Flavor::kSections)
            Flavor::rcu->unregister_thread();
    }
    CallRcu(const CallRcu &) = delete;
    CallRcu &operator=(const CallRcu &) = delete;

    void *alloc()
    {
        return std::malloc(sizeof(Object));
    }
    void free(void *block)
    {
        deferred_++;
        Flavor::rcu->update_call_rcu(&static_cast<Object *>(block)->head, free_object);
    }
    template <class Read> void pause(Read read)
    {
        Flavor::rcu->read_lock(); /* nothing with qsbr */
        read();
        Flavor::rcu->read_unlock();
        if constexpr (!Flavor::kSections)
            Flavor::rcu->read_quiescent_state();
        if (in_flight() > kDeferBytes)
            wait_for_worker();
    }
    size_t in_flight() const
    {
        return (deferred_ - freed_by_worker.load(std::memory_order_relaxed)) * sizeof(Object);
    }

  private:
    /* No larger than the objects of the others: of their 48 bytes it has the space. */
    struct Object {
        uint64_t words[2];
        struct rcu_head head;
        uint64_t rest[2];
    };
    static_assert(sizeof(Object) == kDeferSize);

    static void free_object(struct rcu_head *head)
    {
        std::free(reinterpret_cast<char *>(head) - offsetof(Object, head));
        freed_by_worker.store(freed_by_worker.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
    void wait_for_worker()
    {
        Flavor::rcu->thread_offline(); /* nothing with bp */
        while (in_flight() > kDeferBytes / 2)
            wait_a_moment();
        Flavor::rcu->thread_online();
    }

    static inline std::atomic<size_t> freed_by_worker; /* written by the worker alone */
    struct call_rcu_data *const worker_;
    size_t deferred_ = 0;
};

} // namespace bench

#endif
